"""How flat the minimum is: measurements of a trained model that change nothing about it."""

from __future__ import annotations

from lastsam_core.flatness.average import AverageSharpness, average_sharpness
from lastsam_core.flatness.barrier import Barrier, loss_barrier
from lastsam_core.flatness.calibration import ReliabilityBin, calibration_error, reliability
from lastsam_core.flatness.density import SpectralDensity, spectral_density
from lastsam_core.flatness.hessian import HessianProduct, HessianSpectrum, hessian_spectrum
from lastsam_core.flatness.landscape import Landscape, loss_landscape
from lastsam_core.flatness.renormalize import renormalize
from lastsam_core.flatness.robustness import WeightNoise, evaluate_int8, weight_noise
from lastsam_core.flatness.sharpness import MSharpness, Sharpness, m_sharpness, sharpness, sharpness_profile

__all__ = [
    "AverageSharpness",
    "Barrier",
    "HessianProduct",
    "HessianSpectrum",
    "Landscape",
    "MSharpness",
    "ReliabilityBin",
    "Sharpness",
    "SpectralDensity",
    "WeightNoise",
    "average_sharpness",
    "calibration_error",
    "evaluate_int8",
    "hessian_spectrum",
    "loss_barrier",
    "loss_landscape",
    "m_sharpness",
    "reliability",
    "renormalize",
    "sharpness",
    "sharpness_profile",
    "spectral_density",
    "weight_noise",
]
