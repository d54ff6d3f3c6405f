"""Which steps of a recipe go into the blocks, and what is kept of what they make."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from calcium_engine.io.store import is_trace
from calcium_engine.recipe import Recipe, Step
from calcium_engine.schema import CHAIN, TRACE, VARIABLES, CalciumError, maker_of

MASK, FEATURES = "mask_artifacts", "compute_features"
# Steps whose result for a neuron depends on that neuron alone. Of the features, those that look at traces do.
OF_NEURONS = (
    "subtract_neuropil",
    "estimate_noise",
    "estimate_baseline",
    "compute_dff",
    "subtract_background",
    "denoise",
    "deconvolve",
    "detect_events",
    FEATURES,
)
INTERMEDIATES = ("fluorescence_corrected", "baseline", "background")  # on the way to the next trace
GROUPS = {  # what can be kept, besides variables by name: all that these steps make
    "events": ("detect_events",),
    "features": ("subtract_neuropil", "estimate_noise", "estimate_baseline", "compute_dff", FEATURES),
    "retention": ("retention_test",),
    "coactivity": ("compute_coactivity", "compute_pairwise"),
    "ensemble_events": ("find_ensemble_events",),
    "ensembles": ("find_ensembles", "ensemble_power"),
}


def sequence(steps: Sequence[Step]) -> tuple[list[Step], list[Step], list[Step]]:
    """Part the steps into those before the blocks, those in them, and those after; features are in both of the latter.

    Raises:
        CalciumError: the recipe goes back to traces after it has looked at the population.
    """
    before = [step for step in steps if step.use == MASK]
    in_blocks = [step for step in steps if step.use in OF_NEURONS]
    after = [step for step in steps if step.use not in (MASK, *OF_NEURONS) or step.use == FEATURES]
    looked = ""
    for step in steps:
        if looked and (step.use == MASK or (step.use in OF_NEURONS and step.use in CHAIN)):
            raise CalciumError(
                f"the recipe runs {step.use} after {looked}: block by block, what looks at single neurons comes first; "
                "change the order, or analyse in memory"
            )
        looked = step.use if step.use in CHAIN and step.use not in OF_NEURONS and step.use != MASK else looked
    if FEATURES in [step.use for step in steps] and "detect_events" not in [step.use for step in steps]:
        raise CalciumError(f"the recipe runs {FEATURES} without detect_events: block by block, it needs both")
    if any(step.use == MASK for step in steps[len(before) :]):
        raise CalciumError(f"the recipe runs {MASK} after other steps: block by block, it comes first")
    return before, in_blocks, after


def is_read(trace: str) -> bool:
    """Tell whether a step may read a trace that a recording comes with; others are only passed on."""
    return trace in VARIABLES and not trace.startswith(("true_", "spikes_"))


def kept_traces(keep: Sequence[str] | None, traces: list[str], after: list[Step]) -> tuple[str, ...]:
    """Return which traces are written.

    Raises:
        CalciumError: a name that is neither a variable nor a group, or a trace that a later step reads is not kept.
    """
    if isinstance(keep, str):
        raise CalciumError(f"keep is {keep!r}, but must be a list of names, such as [{keep!r}]")
    if keep is None:
        kept = [name for name in traces if name not in INTERMEDIATES]
    else:
        small = [name for name, variable in VARIABLES.items() if variable.dims != TRACE]
        unknown = [name for name in keep if name not in (*traces, *small, *GROUPS)]
        if unknown:
            raise CalciumError(
                f"keep names {unknown[0]!r}, but there will be the traces {', '.join(traces)}, and {', '.join(GROUPS)}"
            )
        kept = [name for name in traces if name in keep]
    reads = any(step.use == "compute_coactivity" and step.arguments.get("source") == "deconvolved" for step in after)
    if reads and "deconvolved" not in kept:
        raise CalciumError(
            "compute_coactivity(source='deconvolved') reads 'deconvolved', which must be among what is kept (keep)"
        )
    return tuple(kept)


def not_asked_for(small: xr.Dataset, keep: Sequence[str] | None) -> list[str]:
    """Return the results that were not asked for; what the recording came with stays."""
    if keep is None:
        return []
    asked = {maker for name in keep for maker in GROUPS.get(name, ())}
    made = {maker for makers in GROUPS.values() for maker in makers}
    return [name for name in results_of(small, made - asked) if name not in keep]


def holds(recording: xr.Dataset, name: str, recipe: Recipe) -> bool:
    """Tell whether a variable, or anything of a group that the recipe makes, is in the recording."""
    makers = set(GROUPS.get(name, ()))
    never = bool(makers) and not makers & {step.use for step in recipe.steps}
    return name in recording.variables or bool(results_of(recording, makers)) or never


def results_of(recording: xr.Dataset, steps: set[str]) -> list[str]:
    """Return the variables that these steps made, but for traces."""
    return [
        str(name) for name, array in recording.data_vars.items() if not is_trace(array) and maker_of(str(name), array) in steps
    ]
