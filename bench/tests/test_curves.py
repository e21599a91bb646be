"""The curve of a run, and what is kept of it."""

from lrpilot_bench.store.curves import Curve


def straight(points: int) -> Curve:
    curve = Curve()
    for step in range(points):
        curve.add_point(10 * step, 30.0 * step, val_loss=1.0 / (1 + step), val_score=0.5)
        curve.add_step(loss=2.0 + step, lr=0.1)
    return curve


def test_a_thinned_curve_keeps_first_and_last_whatever_their_number() -> None:
    for points in range(1, 30):
        whole, thin = straight(points).to_dict(), straight(points).to_dict(every=5)
        picked = sorted({*range(0, points, 5), points - 1})
        assert whole["steps"] == [10 * i for i in range(points)]
        assert thin == {name: [values[i] for i in picked] for name, values in whole.items()}
