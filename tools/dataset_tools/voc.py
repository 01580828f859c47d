"""Check that a folder holds Pascal VOC 2012 with the SBD masks."""
import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional, Sequence, Set

import numpy as np
from PIL import Image
from prettytable import PrettyTable
from rich.progress import track

# Images of the augmented training set (Hariharan et al., ICCV 2011) and of
# the VOC 2012 validation set.
PUBLISHED = dict(train_aug=10582, val=1449)
LABELS = frozenset(range(21)) | {255}
SAMPLE_SIZE = 200
CELL_WIDTH = 48
HOW_TO_GET = '''\
How to get the complete data:
  1. VOC 2012, whose folder VOCdevkit/VOC2012 is ROOT:
     http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar
  2. SBD, whose folder is benchmark_RELEASE:
     http://home.bharathh.info/pubs/codes/SBD/download.html
  3. tools/dataset_converters/voc_aug.py of MMSegmentation, called with
     VOCdevkit and benchmark_RELEASE, writes the SBD masks to
     SegmentationClassAug, all ids to ImageSets/Segmentation/trainaug.txt and
     those that VOC lacks to aug.txt.
  4. Copy the masks of SegmentationClass to SegmentationClassAug, over those
     of the same name: only they mark void, and val is scored on them.
  5. Run this tool with --write-train-aug, or copy trainaug.txt to
     train_aug.txt.'''


@dataclass
class Row:
    """One line of the table.

    Args:
        item (str): What was looked at.
        found (str): What is there.
        problems (list[str]): What is wrong with it, nothing if empty.
        published (bool): Whether the numbers are those of the complete data.
            Defaults to True.
    """
    item: str
    found: str
    problems: List[str] = field(default_factory=list)
    published: bool = True


class VOCRoot:
    """The files of a VOC root.

    Args:
        root (Path): Folder with JPEGImages, SegmentationClassAug and
            ImageSets/Segmentation.
    """

    def __init__(self, root: Path) -> None:
        self.images = root / 'JPEGImages'
        self.masks = root / 'SegmentationClassAug'
        self.lists = root / 'ImageSets' / 'Segmentation'

    def read_ids(self, split: str) -> Optional[List[str]]:
        """Read the ids of a split, None if its list is absent.

        Args:
            split (str): 'train_aug' or 'val'.

        Returns:
            list[str], optional: The lines that are not blank.
        """
        path = self.lists / f'{split}.txt'
        if not path.is_file():
            return None
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
        return [line.strip() for line in lines if line.strip()]

    def stems(self, folder: Path, suffix: str) -> Set[str]:
        """List the ids that have a file in a folder.

        Args:
            folder (Path): Folder to look into, which may be absent.
            suffix (str): Extension of the files, '.jpg' or '.png'.

        Returns:
            set[str]: File names without the extension.
        """
        return {path.stem for path in folder.glob(f'*{suffix}')}

    def check_mask(self, image_id: str) -> Optional[str]:
        """Check the labels and the size of one mask.

        Args:
            image_id (str): Id with an image and a mask.

        Returns:
            str, optional: What is wrong with it, None if nothing is.
        """
        try:
            with Image.open(self.masks / f'{image_id}.png') as mask:
                # Mode and size come from the header; numpy decodes.
                mode, size = mask.mode, mask.size
                labels = set(np.unique(np.asarray(mask)).tolist())
            with Image.open(self.images / f'{image_id}.jpg') as image:
                image_size = image.size
        except OSError as error:
            return f'{image_id} cannot be read ({error})'
        if mode not in ('P', 'L'):
            return f'{image_id}.png is {mode} and not one label a pixel'
        if size != image_size:
            return f'{image_id}.png is {size}, its image {image_size}'
        wrong = sorted(labels - LABELS)
        return f'{image_id}.png holds labels {wrong}' if wrong else None


def examples(names: Sequence[str], text: str) -> List[str]:
    """Describe a list of names by its length and its first items.

    Args:
        names (Sequence[str]): Names with the same problem.
        text (str): The problem.

    Returns:
        list[str]: One description, or none for no names.
    """
    if not names:
        return []
    shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
    return [f'{len(names):,} {text}: {shown}']


def check_list(split: str, ids: Optional[List[str]]) -> Row:
    """Check the form and the length of a list.

    Args:
        split (str): 'train_aug' or 'val'.
        ids (list[str], optional): Ids of the split.

    Returns:
        Row: The result.
    """
    name, published = f'{split}.txt', PUBLISHED[split]
    if not ids:
        found = 'missing' if ids is None else 'empty'
        return Row(name, found, [f'{found}, {published:,} ids wanted'])
    count = f'{len(ids):,}'
    if len(ids) < published:
        count = f'a subset: {len(ids):,} of {published:,}'
    elif len(ids) > published:
        count = f'{len(ids):,}, published are {published:,}'
    malformed = [line for line in ids if set(line) & set(' \t/\\')]
    repeated = [line for line, times in Counter(ids).items() if times > 1]
    problems = examples(malformed, 'lines that are not one id')
    problems += examples(repeated, 'ids more than once')
    return Row(name, count, problems, len(ids) == published)


def check_files(item: str, wanted: Set[str], present: Set[str]) -> Row:
    """Check that every listed id has its file.

    Args:
        item (str): Name of the folder.
        wanted (set[str]): Ids of all lists.
        present (set[str]): Ids with a file.

    Returns:
        Row: The result.
    """
    missing = sorted(wanted - present)
    problems = examples(missing, 'listed files missing')
    if not present:
        problems = ['no files']
    return Row(item, f'{len(present):,} files', problems)


def check_masks(root: VOCRoot, ids: Sequence[str], check_all: bool) -> Row:
    """Check labels and sizes of masks.

    Args:
        root (VOCRoot): The files.
        ids (Sequence[str]): Ids with an image and a mask, ascending.
        check_all (bool): Whether to read all of them and not an evenly spaced
            sample.

    Returns:
        Row: The result.
    """
    chosen = ids
    if not check_all and len(ids) > SAMPLE_SIZE:
        picks = np.linspace(0, len(ids) - 1, SAMPLE_SIZE).astype(int)
        chosen = [ids[i] for i in picks]
    with ThreadPoolExecutor() as pool:
        results = list(
            track(
                pool.map(root.check_mask, chosen),
                description='masks',
                total=len(chosen),
                transient=True,
                disable=not sys.stdout.isatty()))
    wrong = [result for result in results if result]
    problems = examples(wrong, 'masks are wrong')
    if not chosen:
        problems = ['no mask to read']
    return Row('labels 0-20 and 255', f'{len(chosen):,} masks read', problems)


def write_train_aug(root: VOCRoot) -> str:
    """Write the list of all ids with image and mask that val does not hold.

    An existing list is kept.

    Args:
        root (VOCRoot): The files.

    Returns:
        str: What was done.
    """
    path = root.lists / 'train_aug.txt'
    if path.exists():
        return f'{path} exists and is kept.'
    val = root.read_ids('val')
    if not val:
        return f'{path} is not written: val.txt is needed to leave val out.'
    present = root.stems(root.images, '.jpg') & root.stems(root.masks, '.png')
    ids = sorted(present - set(val))
    if not ids:
        return f'{path} is not written: no image outside val has a mask.'
    # Mode x refuses to overwrite, whatever happened since the look above.
    with path.open('x', encoding='utf-8') as file:
        file.writelines(f'{image_id}\n' for image_id in ids)
    return f'{path} written: {len(ids):,} ids.'


def check(root: VOCRoot, check_all: bool) -> List[Row]:
    """Check lists, files and masks.

    Args:
        root (VOCRoot): The files.
        check_all (bool): Whether to read all masks.

    Returns:
        list[Row]: The lines of the table.
    """
    splits = {split: root.read_ids(split) for split in PUBLISHED}
    rows = [check_list(split, ids) for split, ids in splits.items()]
    train, val = (set(ids or ()) for ids in splits.values())
    rows[0].problems += examples(sorted(train & val), 'ids are in val too')

    images = root.stems(root.images, '.jpg')
    masks = root.stems(root.masks, '.png')
    listed = train | val
    rows.append(check_files(root.images.name, listed, images))
    rows.append(check_files(root.masks.name, listed, masks))
    readable = sorted((listed or masks) & images & masks)
    rows.append(check_masks(root, readable, check_all))
    return rows


def report(rows: Sequence[Row]) -> int:
    """Print the table and the verdict.

    Args:
        rows (Sequence[Row]): The lines of the table.

    Returns:
        int: Exit code, 0 if the data can be used, otherwise 1.
    """
    table = PrettyTable(['item', 'found', 'state'],
                        align='l',
                        max_width=CELL_WIDTH)
    for row in rows:
        table.add_row([row.item, row.found, '; '.join(row.problems) or 'ok'])
    print(table)
    broken = [row.item for row in rows if row.problems]
    if broken:
        print(f'{HOW_TO_GET}\nIncomplete: see {", ".join(broken)}.')
        return 1
    other = [row for row in rows if not row.published]
    if other:
        parts = '; '.join(f'{row.item} is {row.found}' for row in other)
        print(f'Usable, but results on it are not VOC results: {parts}.')
    else:
        print('Complete.')
    return 0


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv (Sequence[str], optional): Arguments. Defaults to ``sys.argv``.

    Returns:
        argparse.Namespace: The arguments; ROOT is an existing folder.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=HOW_TO_GET + '\n\nExit code: 0 usable, 1 incomplete, 2 bad '
        'arguments.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'root', type=Path, help='folder with JPEGImages, such as VOC2012')
    parser.add_argument(
        '--all',
        action='store_true',
        help=f'read every mask and not a sample of {SAMPLE_SIZE}')
    parser.add_argument(
        '--write-train-aug',
        action='store_true',
        help='write train_aug.txt, if absent, from the masks that are there')
    args = parser.parse_args(argv)
    if not args.root.is_dir():
        parser.error(f'ROOT is {args.root}, but an existing folder such as '
                     'data/VOCdevkit/VOC2012 is needed')
    for inner in ('VOC2012', 'VOCdevkit/VOC2012'):
        if (args.root / inner / 'JPEGImages').is_dir():
            parser.error(f'ROOT is {args.root}, but the data is in '
                         f'{args.root / inner}: give that folder')
    return args


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Check a root and print the result.

    Args:
        argv (Sequence[str], optional): Arguments. Defaults to ``sys.argv``.

    Returns:
        int: Exit code, 0 if the data can be used, otherwise 1.
    """
    args = parse_args(argv)
    root = VOCRoot(args.root)
    if args.write_train_aug:
        print(write_train_aug(root))
    return report(check(root, args.all))


if __name__ == '__main__':
    raise SystemExit(main())
