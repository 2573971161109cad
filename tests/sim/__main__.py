"""`python -m tests.sim --seed N [--trace]` replays one seed exactly; `--seeds FIRST COUNT` runs many."""

from __future__ import annotations

import argparse
import sys
import traceback

from tests.sim.simulation import Simulation, run_many
from tests.sim.world import Violation

HOURS_S = 24 * 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "COUNT"), help="run many")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.seeds:
        first, count = options.seeds
        summary = run_many(range(first, first + count), workers=options.workers, bound_s=HOURS_S)
        print("\n".join(f"{count:8} {name}" for name, count in sorted(summary.seen.items())))
        print(f"{summary.seeds} seeds in {summary.seconds:.1f} s, {len(summary.failures)} failures")
        return 1 if summary.failures else 0
    return _one(options.seed or 0, trace=options.trace)


def _one(seed: int, *, trace: bool) -> int:
    simulation = Simulation(seed, keep_trace=trace)
    try:
        result = simulation.run()
    except Violation as error:
        print("\n".join(simulation.world.lines))
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"FAILED {error}")
        return 1
    print("\n".join(simulation.world.lines))
    print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
