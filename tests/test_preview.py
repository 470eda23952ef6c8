"""The head preview on features of which it is known what a fair head would do, and the sentences on it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from fairkd.config import Experiment
from fairkd.errors import ParameterError
from fairkd.narrative_preview import describe_preview, preview_agreement, rank_agreement
from fairkd.recipes import HeadPreview
from fairkd.recipes import preview as module

pytestmark = pytest.mark.filterwarnings("ignore:.*every epoch predicts:fairkd.errors.FairkdWarning")


@pytest.fixture
def shortcut(monkeypatch, tiny_splits):
    """A preview whose features hold a weak sign of the class and a strong one of the group."""
    rng = np.random.default_rng(0)

    def made(n: int, skew: float) -> module._Cached:
        labels = rng.integers(0, 2, n)
        groups = np.where(rng.random(n) < skew, labels, 1 - labels)
        noise = rng.normal(size=(n, 2))
        features = np.stack(
            [2 * labels - 1 + 0.8 * noise[:, 0], 3.0 * (2 * groups - 1) + noise[:, 1]], axis=1
        )
        return module._Cached(*(torch.from_numpy(a) for a in (features.astype(np.float32), labels, groups)))

    train, validation = made(2000, 0.95), made(2000, 0.5)
    parts = iter([train, validation])
    cells = torch.zeros(3, 2, dtype=torch.int64)
    cells.index_put_((train.labels, train.groups), torch.tensor(1), accumulate=True)
    monkeypatch.setattr(module.setup, "training_counts", lambda splits: (cells, cells.sum(dim=1)))
    monkeypatch.setattr(module, "_cache", lambda model, images: next(parts))
    # A teacher that is sure of the group instead of the class.
    monkeypatch.setattr(
        module,
        "outputs_of",
        lambda model, images: type("O", (), {"logits": np.zeros((2000, 3), dtype=np.float32)}),
    )
    experiment = Experiment(distill_weight=0.0, task_weight=1.0)

    class Model:
        model = None

    return HeadPreview(experiment, Model, Model, tiny_splits)  # type: ignore[arg-type]


def test_a_stronger_adversary_closes_the_gap_that_the_shortcut_opens(shortcut):
    gaps = {weight: shortcut.scores(4.0, weight)["recall_gap"] for weight in (0.0, 10.0)}
    assert gaps[10.0] < 0.5 * gaps[0.0], gaps
    without, with_it = (shortcut.scores(4.0, weight)["adversary_balanced_accuracy"] for weight in (0.0, 10.0))
    assert without > 0.9 and with_it < without - 0.1


def test_a_mitigation_without_a_weight_is_refused(tiny_splits):
    with pytest.raises(
        ParameterError, match="mitigation='resampling' is no adversary with a weight to preview"
    ):
        HeadPreview(Experiment(mitigation="resampling"), None, None, tiny_splits)  # type: ignore[arg-type]


def test_the_generator_of_a_training_is_left_alone(shortcut):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    shortcut.scores(4.0, 1.0)
    assert torch.equal(before, torch.random.get_rng_state())


# Sentences


def test_rank_agreement_is_spearman_s():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 4, 30), "b": rng.normal(size=30)})
    expected = stats.spearmanr(table["a"], table["b"]).statistic
    assert rank_agreement(table, "a", "b") == pytest.approx(expected)
    assert np.isnan(rank_agreement(table.assign(a=1), "a", "b"))


def table(trained: list[float]) -> pd.DataFrame:
    weights = [0.0, 1.0, 3.0, 10.0]
    previews = pd.DataFrame(
        {"adversary_weight": weights, "accuracy": [0.9, 0.91, 0.92, 0.93], "recall_gap": [0.4, 0.3, 0.2, 0.1]}
    )
    others = pd.DataFrame(
        {"adversary_weight": weights[: len(trained)], "accuracy": 0.9, "recall_gap": trained}
    )
    return pd.concat([previews.assign(source="preview"), others.assign(source="trained")])


def test_the_order_of_the_weights_is_that_of_the_gaps():
    first, *rest = describe_preview(table([]))
    assert first.endswith("10 (0.100), 3 (0.200), 1 (0.300), 0 (0.400).")
    assert len(rest) == 1


def test_students_of_this_run_are_compared_once_there_are_four():
    assert len(describe_preview(table([0.4, 0.3, 0.2]))) == 2
    sentence = describe_preview(table([0.1, 0.2, 0.3, 0.4]))[1]
    assert "over 4 students trained in full" in sentence and "mean recall gap −1.00" in sentence


def test_what_is_quoted_is_what_the_benchmark_wrote():
    measured, said = preview_agreement(), describe_preview(table([]))[-1]
    for key in ("weights", "with_collapse", "temperature"):
        assert f"{measured[key]['recall_gap']['mean']:.2f}".replace("-", "−") in said
    orders = min(measured["temperature"][name]["mean"] for name in ("accuracy", "recall_gap")) >= 0.7
    assert ("does not order" in said) is not orders
