"""Recordings as they are at the end of the path, fabricated: what a plot or a report may meet, without running a step."""

import numpy as np
import xarray as xr
from finished_ensembles import with_ensembles

from calcium_engine.schema import SCHEMA_VERSION, var


def finished_recording(neurons=12, frames=1200, fs=5.0, *, ensembles=2, seed=0, gap=False, strings=False, indicator="GCaMP6s"):
    """A recording with every variable of the path; `ensembles=0` has events but no ensemble events."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"C{i:02d}" for i in range(neurons)]) if strings else np.arange(neurons) + 1
    time = np.arange(frames) / fs
    coords = {"neuron": ids, "frame": np.arange(frames), "time": ("frame", time), "sampling_rate": fs}
    coords |= {"x": ("neuron", rng.uniform(0, 500, neurons)), "y": ("neuron", rng.uniform(0, 400, neurons))}
    if gap:
        time[frames // 2 :] += 40.0
        coords["epoch"] = ("frame", (np.arange(frames) >= frames // 2).astype(int))
    recording = xr.Dataset(
        coords=coords, attrs={"source": "fabricated.csv", "schema_version": SCHEMA_VERSION, "indicator": indicator}
    )
    members = [np.arange(neurons)[k::ensembles][: max(3, neurons // (ensembles + 1))] for k in range(ensembles)]
    onsets, happened = _onsets(rng, neurons, time, members)
    recording, sizes = _traces(recording, rng, onsets, fs)
    recording = with_detectability(_events(_retention(recording), rng, onsets, sizes))
    return _ensembles(recording, rng, onsets, happened, members, fs)


def _onsets(rng, neurons, time, members):
    duration = len(time) / (1 / np.median(np.diff(time)))
    happened = [(k, rng.choice(time[5:-20])) for k in range(len(members)) for _ in range(max(6, int(duration / 60)))]
    onsets = [list(rng.choice(time[5:-20], rng.poisson(duration / 60 * rate))) for rate in rng.lognormal(0.3, 0.6, neurons)]
    for k, when in happened:
        for i in members[k][rng.random(len(members[k])) < 0.8]:
            onsets[i].append(when)
    return [np.unique(one) for one in onsets], sorted(happened, key=lambda one: one[1])


def _traces(recording, rng, onsets, fs):
    time, shape = recording.time.values, (recording.sizes["neuron"], recording.sizes["frame"])
    clean, sizes = np.zeros(shape, dtype=np.float32), []
    for i, row in enumerate(onsets):
        for when in row:
            first = int(np.searchsorted(time, when))
            after = np.arange(len(time) - first) / fs
            sizes.append(rng.lognormal(-0.7, 0.3))
            clean[i, first:] += sizes[-1] * np.exp(-after / 1.2) * (1 - np.exp(-after / 0.2))
    f0 = (400 * rng.uniform(0.6, 1.6, (shape[0], 1)) * (1 + 0.1 * np.sin(time / 90))).astype(np.float32)
    drift = (0.05 * np.sin(time / 40) * np.ones(shape)).astype(np.float32)
    dff = clean + drift + 0.06 * rng.standard_normal(shape).astype(np.float32)
    rows = {
        "fluorescence": f0 * (1 + dff),
        "baseline": f0,
        "dff": dff,
        "background": drift,
        "detrended": dff - drift,
        "denoised": clean,
    }
    recording = recording.assign({name: var(name).wrap(value.astype(np.float32)) for name, value in rows.items()})
    recording["baseline"].attrs |= {"method": "masked", "window_s": 60.0}
    return _quality(recording, rng), 0.61 * np.array(sizes)  # the highest value of one of size 1


def _quality(recording, rng):
    """What is known of each neuron's noise and F0: the second has too little baseline, the third and fourth bleach."""
    rows, from_start = np.arange(recording.sizes["neuron"]), recording.time.values
    bleaching = (rows == 2) | (rows == 3)
    edge = np.minimum(from_start - from_start[0], from_start[-1] - from_start) < 30
    for bound in np.flatnonzero(np.diff(from_start) > 1):
        edge |= (np.abs(from_start - from_start[bound]) < 30) | (np.abs(from_start - from_start[bound + 1]) < 30)
    values = {
        "noise": np.full(len(rows), 0.06, np.float32),
        "noise_level": rng.uniform(1, 5, len(rows)),
        "noise_correlation": np.linspace(-0.02, 0.02, len(rows)),
        "low_passed_input": rows < 0,
        "f0_floored": rows < 0,
        "saturated_activity": rows == 1,
        "drifting": rows < 0,
        "bleaching": bleaching,
        "bleaching_tau": np.where(bleaching, 240.0 + 60.0 * rows, np.nan),
        "baseline_edge": edge,
    }
    recording = recording.assign({name: var(name).wrap(value) for name, value in values.items()})
    recording["noise"].attrs["trace"] = "detrended"
    return recording


def _retention(recording):
    """Cleaning that keeps all but 2 % of long transients, and denoising that takes from small ones."""
    amplitude, fwhm = np.array([0.1, 0.2, 0.5, 1.0, 2.0]), np.array([0.5, 1.0, 2.0, 5.0])
    lost = 0.02 * (fwhm[:, None] / 5) * np.ones(len(amplitude))
    shares = 1 - np.stack([lost, lost, lost + 0.02 / amplitude])
    values = {"retention_amplitude": shares, "retention_fwhm": 2 - shares, "retention_onset": 0.1 * (shares - 1)}
    values |= {"retention_drift": -0.1 * (1 - shares), "retention_count": np.full(shares.shape[1:], 40)}
    values |= {"retention_slope": shares[..., -1], "slow_attenuation": np.array([12.0, 23.0, 23.0])}
    coords = {"planted_fwhm": fwhm, "planted_amplitude": amplitude, "retention_stage": ["dff", "detrended", "denoised"]}
    return recording.assign({name: var(name).wrap(value) for name, value in values.items()}).assign_coords(coords)


def _events(recording, rng, onsets, amplitude):
    neurons, minutes = recording.sizes["neuron"], recording.sizes["frame"] / float(recording.sampling_rate) / 60
    onset = np.concatenate(onsets) if onsets else np.zeros(0)
    row = np.repeat(np.arange(neurons), [len(one) for one in onsets])
    width = rng.lognormal(0.2, 0.4, onset.size)
    table = {
        "onset": onset,
        "peak": onset + 0.4,
        "offset": onset + 2.0,
        "fwhm": width,
        "amplitude": amplitude,
        "peak_dff": amplitude,
        "rise": rng.lognormal(-1.6, 0.3, onset.size),
        "decay": np.where(rng.random(onset.size) < 0.2, np.nan, rng.lognormal(0.2, 0.3, onset.size)),
        "z": amplitude / 0.06,
    }
    settings = {"detector": "pulse", "trace": "detrended", "denoised_share": 0.5, "indicator": recording.attrs["indicator"]}
    settings |= {"k": 4.5, "min_dff": 0.0, "false_positives_per_minute": 0.01}
    recording = recording.assign({f"event_{name}": var(f"event_{name}").wrap(value, **settings) for name, value in table.items()})
    recording["event_neuron"] = var("event_neuron").wrap(recording.neuron.values[row])
    recording["event_flags"] = var("event_flags").wrap((2 * (width > 5) + _neighbours(onset, row)).astype(np.uint8))
    time, active = recording.time.values, np.zeros((neurons, recording.sizes["frame"]), bool)
    for i, when in zip(row, onset, strict=True):
        active[i, (time >= when) & (time <= when + 2)] = True
    recording["active"] = var("active").wrap(active)
    count = np.bincount(row, minlength=neurons)
    with np.errstate(divide="ignore", invalid="ignore"):
        medians = np.bincount(row, weights=table["amplitude"], minlength=neurons) / count
    per_neuron = {"event_count": count, "event_rate": count / minutes, "amplitude_median": medians}
    return recording.assign({name: var(name).wrap(value) for name, value in per_neuron.items()})


def _neighbours(onset, row):
    """Flags of events that start within 1.5 s of another: 1 where they start on its tail, 4 where it is cut off by them."""
    close = (np.diff(onset) < 1.5) & (np.diff(row) == 0)
    return np.append(False, close)[: len(onset)] + 4 * np.append(close, False)[: len(onset)]


def with_detectability(recording, seed=0):
    """What each neuron's noise lets be found: probit curves over amplitudes, found half the time at a few σ of it."""
    from scipy.special import ndtr

    rng, neurons = np.random.default_rng(seed), recording.sizes["neuron"]
    lod = 3.5 * recording["noise"].values * rng.lognormal(0, 0.4, neurons)
    usable = lod[np.isfinite(lod) & (lod > 0)]
    middle = float(np.median(usable)) if usable.size else 0.2
    amplitude = np.geomspace(middle / 6, middle * 6, 12)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = ndtr(np.log(amplitude / lod[:, None]) / 0.3)
    own = np.interp(recording["amplitude_median"], amplitude, np.arange(12.0))
    recall = np.array(
        [np.interp(one, np.arange(12.0), row) if np.isfinite(one) else np.nan for one, row in zip(own, found, strict=True)]
    )
    count, rate = recording["event_count"].values, recording["event_rate"].values
    negative = rng.binomial(count, 0.02)
    units = recording["event_amplitude"].attrs.get("units", "1")
    values = {
        "lod50": lod,
        "detection_recall": recall,
        "event_rate_corrected": rate / np.clip(recall, 0.1, 1.0),
        "negative_event_count": negative,
        "negative_ratio": np.where(count > 0, negative / np.maximum(count, 1), np.nan),
        "detectability": found,
    }
    recording = recording.assign({name: var(name).wrap(value) for name, value in values.items()})
    recording["lod50"].attrs["units"] = units
    recording["negative_ratio"].attrs["pooled"] = float(negative.sum() / max(count.sum(), 1))
    return recording.assign_coords(detectability_amplitude=("detectability_amplitude", amplitude, {"units": units}))


def _ensembles(recording, rng, onsets, happened, members, fs):
    neurons, time = recording.sizes["neuron"], recording.time.values
    width = max(1, round(0.5 * fs))
    frame_of = [np.searchsorted(time, one) for one in onsets]
    n_bins = len(time) // width
    grid = np.zeros((neurons, n_bins), bool)
    for i, one in enumerate(frame_of):
        grid[i, np.minimum(one // width, n_bins - 1)] = True
    counts = grid.sum(0)
    bins = {"bin_time": ("bin", time[: n_bins * width : width] + width / fs / 2)}
    null = np.array([1.0])
    for p in grid.mean(1):
        null = np.convolve(null, [1 - p, p])
    threshold = int((np.cumsum(null[::-1])[::-1] >= 0.001).sum())
    tail = np.cumsum(null[::-1])[::-1]
    effective = {"bin_s": 0.5, "bin_width_s": width / fs, "binning": "frames", "source": "onset", "count": "neurons"}
    ours = {"threshold": threshold, "alpha": 0.05, "attained_alpha": float(null[threshold:].sum()), "n_tests": n_bins, "seed": 0}
    ours |= {"expected_false_bins": float(null[threshold:].sum()) * n_bins, "significance": "fdr", "monte_carlo": 0}
    ours |= {"null": "circular", "surrogate": "circular", "law": "exact", "comparison_null": "local", "nulls_disagree": False}
    ours |= {"comparison": "The circular and the local null agree."}
    recording["coactivity"] = var("coactivity").wrap(counts, **effective).assign_coords(bins)
    recording["coactivity_expected"] = var("coactivity_expected").wrap(np.full(n_bins, grid.mean(1).sum()))
    recording["coactivity_pvalue"] = var("coactivity_pvalue").wrap(tail[counts])
    significant = counts >= threshold if members else np.zeros(n_bins, bool)
    recording["is_coactive"] = var("is_coactive").wrap(significant, **ours)
    recording["coactivity_null"] = var("coactivity_null").wrap(null)
    near = np.minimum(tail[counts] * rng.uniform(1, 3, n_bins), 1)
    compared = {"expected": grid.mean(1).sum() * (1 + 0.2 * np.sin(np.arange(n_bins) / 90)), "pvalue": near}
    compared |= {"threshold": np.full(n_bins, threshold + 1), "is_coactive": significant & (near < 1e-4)}
    for name, values in compared.items():
        recording[f"comparison_{name}"] = var(f"comparison_{name}").wrap(values)
    recording["coactivity_threshold"] = var("coactivity_threshold").wrap(np.full(n_bins, threshold))
    return with_ensembles(_pairs(recording, grid), rng, happened, members, grid, width)


def _pairs(recording, grid):
    """Pairs of neurons by their common bins, with p-values of the Poisson law."""
    from scipy.stats import false_discovery_control, poisson

    active, common = grid.sum(1), grid.astype(int) @ grid.T.astype(int)
    neurons, n_bins = grid.shape
    expected = np.outer(active, active) / n_bins
    off = ~np.eye(neurons, dtype=bool) & (np.minimum.outer(active, active) > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        jaccard, chance = (part / (np.add.outer(active, active) - part) for part in (common, expected))
        z = (common - expected) / np.sqrt(expected)
    pvalue = np.where(off, np.maximum(poisson.sf(common - 1, expected), 1 / n_bins), np.nan)
    qvalue = np.full(pvalue.shape, np.nan)
    if off.any():
        upper = np.triu(off)
        qvalue[upper] = qvalue.T[upper] = false_discovery_control(pvalue[upper])
    found = qvalue <= 0.05
    values = {"pair_jaccard": jaccard, "pair_jaccard_adjusted": (jaccard - chance) / (1 - chance), "pair_z": z}
    values = {name: np.where(off, value, np.nan) for name, value in values.items()}
    values |= {"pair_overlap": common, "pair_pvalue": pvalue, "pair_qvalue": qvalue}
    tests = int(off.sum()) // 2
    summary = {"alpha": 0.05, "n_tests": tests, "significant_pairs": int(found.sum()) // 2, "smallest_pvalue": 1 / n_bins}
    summary["fewest_significant"] = int(np.ceil(tests / n_bins / 0.05))
    recording = recording.assign({name: var(name).wrap(value) for name, value in values.items()})
    recording["is_pair_significant"] = var("is_pair_significant").wrap(found, **summary)
    return recording.assign_coords(neuron_other=recording["neuron"].values)
