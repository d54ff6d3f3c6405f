"""Ensembles as `find_ensembles` and `ensemble_power` leave them, fabricated: by either method, after every cut."""

import numpy as np

from calcium_engine.schema import var


def with_ensembles(recording, rng, happened, members, grid, width):
    """The recording with ensemble events, the ensembles whose members are given, and all that is told of them."""
    time, neurons, n_events, n = recording.time.values, recording.sizes["neuron"], len(happened), len(members)
    at = np.array([when for _, when in happened], dtype=float)
    bins = [min(int(np.searchsorted(time, when)) // width, grid.shape[1] - 1) for when in at]
    part = grid[:, bins].T.reshape(n_events, neurons)
    labels = np.array([k + 1 for k, _ in happened], dtype=int)
    labels[rng.random(n_events) < 0.1] = -1
    rows = {"ensemble_event_time": at, "ensemble_event_start": at, "ensemble_event_duration": np.full(n_events, 0.4)}
    rows |= {"ensemble_event_size": part.sum(1), "ensemble_event_pvalue": np.full(n_events, 1e-5), "participation": part}
    recording = recording.assign({name: var(name).wrap(value) for name, value in rows.items()})
    core = np.array([np.isin(np.arange(neurons), one) for one in members], bool).reshape(n, neurons)
    recording = _clustered(_who(recording, part, labels, core), rng, part, labels, n)
    return with_power(_compared(_when(recording, rng, grid, labels, core), core))


def _who(recording, part, labels, core):
    n = len(core)
    share = np.array([part[labels == k + 1].mean(0) for k in range(n)]).reshape(core.shape)
    count = np.array([(labels == k + 1).sum() for k in range(n)], dtype=int)
    minutes = recording.sizes["frame"] / float(recording.sampling_rate) / 60
    own = np.concatenate([core, np.zeros((1, core.shape[1]), bool)])[np.where(labels > 0, labels - 1, n)]
    match = (part & own).sum(1) / np.maximum((part | own).sum(1), 1)
    who = {"membership": share, "membership_pvalue": np.where(share > 0, np.exp(-8 * share), 1.0), "is_core": core}
    who |= {"is_peripheral": (share >= 0.2) & ~core, "ensemble_event_match": np.where(labels > 0, match, np.nan)}
    who |= {"ensemble_size": core.sum(1), "ensemble_event_count": count, "ensemble_rate": count / minutes}
    who["ensemble_stability"] = np.linspace(0.9, 0.4, n)
    coords = {"ensemble": np.arange(1, n + 1), "ensemble_other": np.arange(1, n + 1)}
    return recording.assign({name: var(name).wrap(value) for name, value in who.items()}).assign_coords(coords)


def _clustered(recording, rng, part, labels, n):
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    n_events, neurons = part.shape
    tree = linkage(pdist(part, "jaccard"), "average") if n_events > 1 else np.zeros((0, 4))
    common = part.astype(int) @ part.T.astype(int)
    either = part.sum(1)[:, None] + part.sum(1)[None] - common
    variance = np.sort(rng.exponential(1, min(neurons, n_events)))[::-1]
    rows = {"similarity": np.where(either, common / np.maximum(either, 1), 1.0), "linkage": tree}
    rows["explained_variance"] = variance / max(variance.sum(), 1e-12)
    attrs = {"method": "jaccard", "linkage": "average", "min_events": 5, "seed": 0, "n_ensembles": n}
    rows = {name: var(name).wrap(value) for name, value in rows.items()}
    rows["ensemble_event_label"] = var("ensemble_event_label").wrap(labels, **attrs)
    return with_cut(recording.assign(rows), "null")


def with_cut(recording, cut, **attrs):
    """The recording as if its tree had been cut by another rule: a name, or a number."""
    n_events, found = recording.sizes["ensemble_event"], recording.sizes["ensemble"]
    number = np.arange(1.0, min(n_events, 20) + 1)
    nothing = (np.zeros(0), np.zeros(0), np.zeros(0))
    total = np.cumsum(recording["explained_variance"].values)
    score = 0.6 - 0.05 * np.abs(number - max(found, 2))
    grid = np.linspace(0, 1, 101)
    pairs = np.sort(1 - recording["similarity"].values[np.triu_indices(n_events, 1)])
    share = np.searchsorted(pairs, grid + 1e-9) / max(len(pairs), 1)
    evidence = {
        "null": (grid, share, np.minimum(1.0, 1e-3 * np.exp(40 * (grid - 0.85)))),
        "pca_variance": (np.arange(1.0, len(total) + 1), total, np.full(len(total), 0.8)),
        "pca_shift": (np.arange(1.0, len(total) + 1), np.diff(total, prepend=0.0), np.full(len(total), 0.12)),
        "silhouette": (number, np.where(number > 1, score, np.nan), np.full(len(number), np.nan)),
        "contrast": (number, score, np.full(len(number), np.nan)),
        "gap": (number, 4 - 0.5 * np.log(number), 4 + score - 0.5 * np.log(number)),
    }.get(cut, nothing)
    values = dict(zip(("cut_value", "cut_score", "cut_reference"), evidence if n_events > 1 else nothing, strict=True))
    labels = recording["ensemble_event_label"].copy()
    labels.attrs = {**labels.attrs, "cut": cut, "cut_distance": 0.85 if n_events > 1 else 0.0, **attrs}
    if cut == "pca_variance":
        labels.attrs.setdefault("variance", 0.8)
    values = {name: var(name).wrap(value) for name, value in values.items()}
    return recording.drop_dims("cut_step", errors="ignore").assign(values | {"ensemble_event_label": labels})


def by_ica(recording):
    """The recording as if its ensembles were independent components."""
    rng, (found, neurons) = np.random.default_rng(0), recording["is_core"].shape
    number = np.arange(1.0, neurons + 1)
    eigenvalue = np.where(number <= found, 4.0 - 1.5 * number / max(found, 1), 1.2 - 0.4 * number / neurons)
    weight = rng.normal(0, 0.05, (found, neurons)) + 0.3 * recording["is_core"].values
    projection = rng.gamma(0.5, 2.0, (found, recording.sizes["bin"])) + 40 * recording["is_activated"].values
    values = {"cut_value": number, "cut_score": eigenvalue, "cut_reference": np.full(neurons, 1.7)}
    values |= {"ensemble_weight": weight, "ensemble_activation": projection}
    labels = recording["ensemble_event_label"].copy()
    labels.attrs = {key: value for key, value in labels.attrs.items() if not key.startswith(("cut", "compared"))}
    labels.attrs |= {"method": "ica", "n_components": found, "component_threshold": 1.7}
    recording = recording.drop_dims(["cut_step", "compared_ensemble"]).drop_vars("compared_match")
    values = {name: var(name).wrap(value) for name, value in values.items()} | {"ensemble_event_label": labels}
    return recording.assign(values)


def _when(recording, rng, grid, labels, core):
    """Activation, recruitment, completion and transitions of ensembles, as they follow from the events or nearly so."""
    from scipy.stats import poisson

    n = len(core)
    activation = (core.astype(float) @ grid) / np.maximum(core.sum(1), 1)[:, None]
    activated = activation >= 0.5
    starts = activated & ~np.concatenate([np.zeros((n, 1), bool), activated[:, :-1]], axis=1)
    row = labels[labels > 0] - 1
    count = np.zeros((n, n), dtype=int)
    np.add.at(count, (row[:-1], row[1:]), 1)
    expected = np.outer(count.sum(1), count.sum(0)) / max(count.sum(), 1)
    share = count / np.maximum(count.sum(1, keepdims=True), 1)
    bits = -np.sum(share * np.log2(np.where(share > 0, share, 1)), axis=1)
    values = {"ensemble_activation": activation, "is_activated": activated, "ensemble_activation_count": starts.sum(1)}
    values["recruitment_latency"] = np.where(core, np.sort(rng.uniform(0, 0.8, core.shape), axis=1), np.nan)
    values |= {"recruitment_consistency": np.linspace(0.6, 0.1, n), "recruitment_pvalue": np.geomspace(1e-5, 0.6, n)}
    values |= {"pattern_completion": np.linspace(0.5, 0.1, n), "transition_count": count, "transition_expected": expected}
    values["transition_pvalue"] = poisson.sf(count - 1, expected)
    values["sequence_entropy"] = float(bits @ count.sum(1) / count.sum()) if count.sum() else np.nan
    values["sequence_entropy_pvalue"] = 0.3 if count.sum() else np.nan
    return recording.assign({name: var(name).wrap(value) for name, value in values.items()})


def _compared(recording, core):
    """What the other method found: the same cores but for a neuron each."""
    others = core.copy()
    for one in others:
        one[np.flatnonzero(one)[:1]] = False
    match = others.sum(1) / np.maximum(core.sum(1), 1)
    values = {"compared_is_core": others, "compared_match": match}
    best = float(match.mean()) if len(core) else 1.0
    labels = recording["ensemble_event_label"].copy()
    labels.attrs |= {"compared_method": "ica", "compared_best_match": best, "methods_disagree": False}
    labels.attrs["compared"] = f"Independent components find as many ensembles, {len(core)} (Best Match {best:.2f})."
    values = {name: var(name).wrap(value) for name, value in values.items()} | {"ensemble_event_label": labels}
    return recording.assign(values).assign_coords(compared_ensemble=np.arange(1, len(core) + 1))


def with_power(recording, least=0.6):
    """The recording with the share of planted ensembles that are found; `least`: what reliability it takes, None for any."""
    reliability = np.arange(1, 11) / 10
    middle = 1.4 if least is None else least - 0.1
    share = np.round(20 / (1 + np.exp(-14 * (reliability - middle)))) / 20
    attrs = {"planted_size": 20, "planted_events": 24, "runs": 20}
    if least is not None:
        attrs["least_reliability"] = float(reliability[share >= 0.8][0])
    made = recording.assign(ensemble_power=var("ensemble_power").wrap(share, **attrs))
    return made.assign_coords(planted_reliability=reliability)
