"""Every loss as its paper writes it: numpy, loops, float64, no code shared with the library."""

from __future__ import annotations

import itertools
import math

import numpy as np

Array = np.ndarray


def softmax(values: Array) -> Array:
    exponentials = np.exp(values - values.max())
    return exponentials / exponentials.sum()


def divergence(teacher: Array, student: Array) -> float:
    return float(sum(t * math.log(t / s) for t, s in zip(teacher, student, strict=True)))


def huber(value: float) -> float:
    return value**2 / 2 if abs(value) <= 1 else abs(value) - 0.5


def cosine(first: Array, second: Array) -> float:
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norms) if norms > 0 else 0.0


def pearson(first: Array, second: Array) -> float:
    return cosine(first - first.mean(), second - second.mean())


def kd(student: Array, teacher: Array, temperature: float) -> float:
    rows = zip(student, teacher, strict=True)
    total = sum(divergence(softmax(t / temperature), softmax(s / temperature)) for s, t in rows)
    return temperature**2 * total / len(student)


def dkd(
    student: Array, teacher: Array, labels: Array, alpha: float, beta: float, temperature: float
) -> float:
    total = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        p_s, p_t = softmax(s / temperature), softmax(t / temperature)
        binary_s = np.array([p_s[label], 1 - p_s[label]])
        binary_t = np.array([p_t[label], 1 - p_t[label]])
        rest_s = np.delete(p_s, label) / (1 - p_s[label])
        rest_t = np.delete(p_t, label) / (1 - p_t[label])
        total += alpha * divergence(binary_t, binary_s) + beta * divergence(rest_t, rest_s)
    return temperature**2 * total / len(student)


def dist(student: Array, teacher: Array, beta: float, gamma: float, temperature: float) -> float:
    p_s = np.array([softmax(row / temperature) for row in student])
    p_t = np.array([softmax(row / temperature) for row in teacher])
    rows = np.mean([pearson(s, t) for s, t in zip(p_s, p_t, strict=True)])
    columns = np.mean([pearson(s, t) for s, t in zip(p_s.T, p_t.T, strict=True)])
    return float(temperature**2 * (beta * (1 - rows) + gamma * (1 - columns)))


def standardize(logits: Array) -> Array:
    return np.array([(row - row.mean()) / row.std(ddof=1) for row in logits])


def hint(student: Array, teacher: Array) -> float:
    return float(np.mean([(s - t) ** 2 for s, t in zip(student.ravel(), teacher.ravel(), strict=True)]))


def attention_transfer(student: Array, teacher: Array) -> float:
    def attention(image: Array) -> Array:
        channels, height, width = image.shape
        sums = np.zeros((height, width))
        for c, y, x in itertools.product(range(channels), range(height), range(width)):
            sums[y, x] += image[c, y, x] ** 2 / channels
        return sums / np.linalg.norm(sums)

    pairs = zip(student, teacher, strict=True)
    return float(np.mean([(attention(s) - attention(t)) ** 2 for s, t in pairs]))


def norm_direction(student: Array, teacher: Array, class_means: Array, labels: Array) -> float:
    terms = []
    for s, t, label in zip(student, teacher, labels, strict=True):
        direction = class_means[label] / np.linalg.norm(class_means[label])
        terms.append(1 - s @ direction / max(np.linalg.norm(s), np.linalg.norm(t)))
    return float(np.mean(terms))


def rkd_distance(student: Array, teacher: Array) -> float:
    def relative(features: Array) -> Array:
        distances = np.array([[np.linalg.norm(a - b) for b in features] for a in features])
        return distances / distances[distances > 0].mean()

    return float(np.mean([huber(d) for d in (relative(student) - relative(teacher)).ravel()]))


def rkd_angle(student: Array, teacher: Array) -> float:
    triplets = list(itertools.product(range(len(student)), repeat=3))
    total = 0.0
    for i, j, k in triplets:
        angle_s = cosine(student[j] - student[i], student[k] - student[i])
        angle_t = cosine(teacher[j] - teacher[i], teacher[k] - teacher[i])
        total += huber(angle_s - angle_t)
    return total / len(triplets)


def similarity_preserving(student: Array, teacher: Array) -> float:
    def rows(features: Array) -> Array:
        gram = np.array([[a @ b for b in features] for a in features])
        return np.array([row / np.linalg.norm(row) for row in gram])

    return float(((rows(student) - rows(teacher)) ** 2).sum() / len(student) ** 2)


def pkt(student: Array, teacher: Array) -> float:
    def probabilities(features: Array) -> Array:
        similarities = np.array([[(1 + cosine(a, b)) / 2 for b in features] for a in features])
        return np.array([row / row.sum() for row in similarities])

    epsilon = 1e-7
    pairs = zip(probabilities(student).ravel(), probabilities(teacher).ravel(), strict=True)
    return float(np.mean([t * math.log((t + epsilon) / (s + epsilon)) for s, t in pairs]))


def nst(student: Array, teacher: Array) -> float:
    def kernel(first: Array, second: Array) -> float:
        pairs = itertools.product(first.reshape(len(first), -1), second.reshape(len(second), -1))
        return float(np.mean([cosine(a, b) ** 2 for a, b in pairs]))

    pairs = zip(student, teacher, strict=True)
    return float(np.mean([kernel(t, t) + kernel(s, s) - 2 * kernel(s, t) for s, t in pairs]))


def mean_squared_distance(student: Array, teacher: Array) -> float:
    return float(np.mean([((t - s) ** 2).sum() for t in teacher for s in student]))


def mfd(
    student: Array,
    teacher: Array,
    labels: Array,
    groups: Array,
    sigma: float,
    kernel: str,
    mean_square: float | None = None,
) -> float:
    """``mean_square`` holds the RBF kernel's bandwidth fixed, as its gradient does."""
    mean_square = mean_square or mean_squared_distance(student, teacher)

    def average(first: Array, second: Array) -> float:
        if kernel == "poly":
            return float(np.mean([cosine(a, b) ** 2 for a in first for b in second]))
        scale = 2 * sigma * mean_square
        return float(np.mean([math.exp(-((a - b) ** 2).sum() / scale) for a in first for b in second]))

    total = 0.0
    for label, group in sorted(set(zip(labels.tolist(), groups.tolist(), strict=True))):
        t, s = teacher[labels == label], student[(labels == label) & (groups == group)]
        total += average(t, t) + average(s, s) - 2 * average(t, s)
    return total / 2
