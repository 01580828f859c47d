import gc
import os
from pathlib import Path
from typing import Iterator

import pytest
import torch
from mmengine.dist import is_distributed
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

TEST_DATA = 'MMSEG_INCREMENTAL_TEST_DATA'
REPOSITORY = Path(__file__).resolve().parent.parent
# Without a GPU the kernels run in Triton's interpreter, if it is installed;
# Triton reads this when it is imported.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')


@pytest.fixture(scope='session', autouse=True)
def single_thread() -> Iterator[None]:
    """Run torch on one thread: tiny tensors gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='session', autouse=True)
def quick_garbage_collection() -> None:
    """Leave the imported modules out of it: MMEngine collects garbage for
    every dataset that it builds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_singletons() -> Iterator[None]:
    """Clear what a Runner leaves behind in the process.

    A second Runner would log and draw into the work dir of the first one.
    """
    yield
    for logger in MMLogger._instance_dict.values():
        # Unlike `logging.shutdown`, this leaves the handlers of pytest open.
        for handler in logger.handlers:
            handler.close()
    for singleton in (MMLogger, MessageHub, Visualizer, DefaultScope):
        singleton._instance_dict.clear()
    if is_distributed():
        torch.distributed.destroy_process_group()


@pytest.fixture(scope='session')
def test_data() -> Path:
    """Folder with the real data, which has the subfolder ``data``."""
    root = Path(os.environ.get(TEST_DATA, REPOSITORY.parent / 'shared'))
    if not (root / 'data').is_dir():
        pytest.skip(f'no real data: {TEST_DATA} or {root} needs a folder data')
    return root
