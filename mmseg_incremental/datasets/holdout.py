"""A random part of the images to choose hyper-parameters on."""
import numpy as np

from mmseg_incremental.errors import IncrementalConfigError

DEFAULT_SPLIT = dict(fraction=0.2, seed=0)


def holdout_part(num_images: int,
                 fraction: float = DEFAULT_SPLIT['fraction'],
                 seed: int = DEFAULT_SPLIT['seed'],
                 part: str = 'train') -> np.ndarray:
    """Mark the images of one part of a random split.

    The split is of all images of a dataset and not of a step's, so that an
    image is in the same part at every step.

    Args:
        num_images (int): The number of images to split.
        fraction (float): Share of the part 'val', in (0, 1). Defaults to 0.2.
        seed (int): Seed of the split. Defaults to 0.
        part (str): The part to mark, 'train' or 'val'. Defaults to 'train'.

    Returns:
        np.ndarray: bool [num_images].

    Raises:
        IncrementalConfigError: If the part is unknown, or the fraction not
            between 0 and 1.
    """
    if part not in ('train', 'val') or not 0 < fraction < 1:
        raise IncrementalConfigError(
            f'holdout with fraction={fraction!r}, part={part!r} is unknown; '
            "allowed are 0 < fraction < 1 and part='train' or 'val'.")
    order = np.random.RandomState(seed).permutation(num_images)
    held_out = np.zeros(num_images, dtype=bool)
    held_out[order[:int(round(fraction * num_images))]] = True
    return held_out if part == 'val' else ~held_out
