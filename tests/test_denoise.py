"""Denoising: what it takes and what it leaves."""

import itertools

import numpy as np
from recordings import RATE, transients

from calcium_engine.denoise import denoise
from calcium_engine.io import make_recording
from calcium_engine.noise import estimate_noise


def test_denoising_takes_noise_and_leaves_transients():
    n = 4000
    clean = transients(n, range(50, n, 100))
    noisy = clean + np.random.default_rng(5).normal(0, 0.15, n)
    made = estimate_noise(make_recording(noisy[None], sampling_rate=RATE, variable="dff"))
    kept, gain = {}, {}
    for method, shrink in itertools.product(("swt", "dwt"), ("bayes", "visu", "sure")):
        denoised = denoise(made, method=method, shrink=shrink)["denoised"].values[0]
        gain[method, shrink] = np.mean((noisy - clean) ** 2) / np.mean((denoised - clean) ** 2)
        kept[method, shrink] = np.mean(denoised[50::100]) / clean[50]
    assert all(value > (0.5 if shrink == "visu" else 1.5) for (_, shrink), value in gain.items()), gain
    assert gain["swt", "bayes"] > gain["dwt", "bayes"]
    assert kept["swt", "bayes"] > max(kept["swt", "sure"], kept["dwt", "bayes"]) > kept["swt", "visu"]


def test_denoised_traces_keep_the_units_of_their_input():
    noisy = np.random.default_rng(6).normal(size=(2, 400))
    made = make_recording(noisy, sampling_rate=RATE, variable="dff")
    made["dff"].attrs["units"] = "sigma"
    assert denoise(estimate_noise(made))["denoised"].attrs["units"] == "sigma"
