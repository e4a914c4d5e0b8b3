"""What a latent space is made of, in numbers: which latents are used, and ways through it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomaly.arrays import Bool, Float64, Int64
from anomaly.backends.backend import ScoringModel
from anomaly.fitting import ACTIVE_UNIT_VARIANCE
from anomaly.models.convolutional import ConvNetworks
from anomaly.models.ops import NumpyOps
from anomaly.models.posterior import GaussianPosterior

REACH = 3.0
"""Standard deviations to each side of a traversal."""

UNUSED_SHARE = 1e-4
"""Latents of a point have no scale of their own but that of the one that varies most."""

PRIOR_DRAWS = 4_096

FAR = 1.5
"""Latents that are so many times wider or narrower than the prior are not what it draws."""

CAUTION = "CAUTION"
"""Begins what a reader of a figure must not miss."""


@dataclass(frozen=True)
class LatentSpace:
    """Where a model puts N rows.

    Attributes:
        means, deviations: (N, L) of the posteriors.
        places: Latents of a channel, which follow each other: 1, or the places of a latent image.
        rows: What a row is called, in the plural.
        is_vae: Whether the posterior is a distribution, and no point.
        prior_width: Root mean square of draws from the prior.
        networks: How many the ensemble has; the latents are those of the first.
    """

    means: Float64
    deviations: Float64
    places: int
    rows: str
    is_vae: bool
    prior_width: float
    networks: int = 1

    @staticmethod
    def of(model: ScoringModel, means: Float64, deviations: Float64, rows: str) -> LatentSpace:
        """The latent space of a model, from the posteriors of N rows."""
        networks, channels = model.vae.networks, means.shape[1]
        if isinstance(networks, ConvNetworks):
            channels = networks.latent_channels
        prior = model.vae.latent_prior(NumpyOps(), model.first)
        drawn = prior.sample(PRIOR_DRAWS, np.random.default_rng(0))
        return LatentSpace(
            means,
            deviations,
            means.shape[1] // channels,
            rows,
            isinstance(model.vae.posterior, GaussianPosterior),
            float(np.sqrt(np.square(drawn).mean())),
            len(model.members),
        )

    @cached_property
    def variance(self) -> Float64:
        """(L,) of the posterior means over the rows."""
        found: Float64 = self.means.var(0)
        return found

    @property
    def threshold(self) -> float:
        """The variance above which a latent is active."""
        if self.is_vae:
            return ACTIVE_UNIT_VARIANCE
        return UNUSED_SHARE * float(self.variance.max()) if self.variance.max() > 0 else 0.0

    @property
    def active(self) -> Bool:
        """(L,) whether each latent says anything about a row."""
        found: Bool = self.variance > self.threshold
        return found

    @property
    def has_collapsed(self) -> bool:
        """Whether no latent says anything: the decoder gives every row the same answer."""
        return self.can_tell and not self.active.any()

    @property
    def can_tell(self) -> bool:
        """Whether there are rows that could differ."""
        return len(self.means) > 1

    @property
    def divergence(self) -> Float64:
        """(L,) mean KL to a standard normal in nats; zero for points."""
        if not self.is_vae:
            return np.zeros(self.means.shape[1])
        square = self.means**2 + self.deviations**2
        found: Float64 = (0.5 * (square - 1) - np.log(self.deviations)).mean(0)
        return found

    @property
    def width(self) -> float:
        """Root mean square of the active latents of the rows, in that of the prior."""
        square = (self.means**2 + self.deviations**2).mean(0)
        return float(np.sqrt(square[self.active].mean())) / self.prior_width

    @property
    def middle(self) -> int:
        """The row whose latents are nearest to the mean of all."""
        return int(((self.means - self.means.mean(0)) ** 2).sum(1).argmin())

    def leading(self, most: int) -> Int64:
        """Channels that are active on average, those that vary most first, at most so many."""
        by_channel = self.variance.reshape(-1, self.places).mean(1)
        order = np.argsort(-by_channel, kind="stable")
        varied = order[by_channel[order] > self.threshold]
        # Where a few places of a channel are active and its mean is not, the largest is shown.
        return varied[:most] if len(varied) else order[: int(not self.has_collapsed)]

    def spread(self, channel: int) -> float:
        """Standard deviation of a channel's posterior means over rows and places."""
        chosen = slice(channel * self.places, (channel + 1) * self.places)
        return float(np.sqrt(self.variance[chosen].mean()))

    def traversal(self, start: Float64, channel: int, steps: Float64) -> Float64:
        """(T, L) latents that leave `start` (L,) along one channel, at all places together.

        Args:
            steps: (T,) in standard deviations of the channel; 0 is the start.
        """
        moved = np.repeat(start[None], len(steps), axis=0)
        chosen = slice(channel * self.places, (channel + 1) * self.places)
        moved[:, chosen] += steps[:, None] * self.spread(channel)
        return moved

    @property
    def said(self) -> str:
        """What there is, in words, for the head of a figure."""
        n, count = self.means.shape[1], int(self.active.sum())
        kind = "" if self.is_vae else "; a point and no distribution: not a VAE"
        first = f"; network 1 of {self.networks}" if self.networks > 1 else ""
        if not self.can_tell:
            return f"which of {n} latents are in use, one row cannot tell{kind}{first}"
        if self.has_collapsed:
            return (
                f"THE POSTERIOR HAS COLLAPSED: none of {n} latents varies between {self.rows}"
                f"{kind}{first}"
            )
        return f"{count} of {n} latents active{kind}{first}"

    @property
    def said_of_prior(self) -> str:
        """Whether draws from the prior can be expected to look like the rows, in words."""
        if 1 / FAR <= self.width <= FAR:
            return (
                f"the latents of these {self.rows} are {self.width:.2f} times as wide as the prior"
            )
        return (
            f"{CAUTION}: the latents of these {self.rows} are {self.width:.2g} times as wide as "
            f"the prior, so its draws need not look like {self.rows}"
        )


def projected(points: Float64, basis: Float64 | None = None) -> tuple[Float64, tuple[str, ...]]:
    """(N, 2) coordinates to draw, and what they are.

    Two latents are shown as they are; more on the first two principal axes of `basis`, by default
    the points; of one the second coordinate is 0.
    """
    from sklearn.decomposition import PCA

    count = points.shape[1]
    if count == 1:
        return np.column_stack([points, np.zeros(len(points))]), ("the latent", "")
    if count == 2:
        return points, ("latent 1", "latent 2")
    axes = PCA(2).fit(points if basis is None else basis)
    names = tuple(
        f"PC {number} ({share:.0%} of the variance)"
        for number, share in enumerate(axes.explained_variance_ratio_, start=1)
    )
    return axes.transform(points), names


def across(scores: Float64, most: int) -> Int64:
    """Numbers of at most so many rows, evenly from the lowest score to the highest."""
    order = np.argsort(scores, kind="stable")
    chosen = np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(np.int64)
    found: Int64 = order[chosen]
    return found


def opposites(points: Float64, most: int) -> list[tuple[int, int]]:
    """Pairs of rows that lie far apart: both ends of each principal axis of (N, L)."""
    centered = points - points.mean(0)
    count = min(most, *centered.shape)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:count]
    along = centered @ directions.T
    pairs = [(int(a), int(b)) for a, b in zip(along.argmin(0), along.argmax(0), strict=True)]
    return [pair for pair in pairs if pair[0] != pair[1]]
