"""The tensors of a checkpoint as safetensors files, one per process, written by torch.distributed.checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from gazetools.schemas.errors import FaultError
from gazetools.trainer.processes.world import World

SHARD_PATTERN = "shard-*.safetensors"
TreePath = tuple[str | int, ...]
"""Keys from the root of nested mappings and lists to a value."""
SAME_KEY = "same_tensors"
"""Key of a saved state: path of a tensor -> path of the equal one that was written for both."""


def tensors_of(tree: Any, path: TreePath = ()) -> Iterator[tuple[TreePath, Tensor]]:
    """Yield the tensors in nested mappings and lists with their paths, in order."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, dict | list | tuple):
        entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in entries:
            yield from tensors_of(value, (*path, key))


def without_tensors(tree: Any) -> Any:
    """The tree with empty places for tensors: left out of mappings, None in lists."""
    if isinstance(tree, dict):
        return {key: without_tensors(value) for key, value in tree.items() if not isinstance(value, Tensor)}
    if isinstance(tree, list | tuple):
        return [without_tensors(value) for value in tree]
    return None if isinstance(tree, Tensor) else tree


def own_copies(tree: Any, *, world: World, shared: Callable[[TreePath], bool]) -> dict[TreePath, Tensor]:
    """Copies on the CPU of the tensors that this process writes.

    Tensors that all processes have (`shared` is true of their path) are divided among them by their bytes; the others
    are written by the process that has them. Of those that `same_tensors` names nothing is written.
    """
    repeated = same_tensors(tree, shared=shared)
    found = [(path, tensor) for path, tensor in tensors_of(tree) if path not in repeated]
    everywhere = [(path, tensor) for path, tensor in found if shared(path)]
    total = sum(tensor.nbytes for _, tensor in everywhere)
    chosen, begun = [(path, tensor) for path, tensor in found if not shared(path)], 0
    for path, tensor in everywhere:
        if begun * world.size // max(total, 1) == world.rank:
            chosen.append((path, tensor))
        begun += tensor.nbytes
    # Contiguous and never shared: training goes on changing the originals while the copies are written.
    return {path: tensor.detach().to("cpu", copy=True).contiguous() for path, tensor in chosen}


def same_tensors(tree: Any, *, shared: Callable[[TreePath], bool]) -> dict[TreePath, TreePath]:
    """Path -> path of an earlier tensor that is the same memory seen in the same way, as frozen weights of trunks are.

    Only tensors that all processes have count: every process then finds the same ones.
    """
    first: dict[Any, TreePath] = {}
    found = {}
    for path, tensor in tensors_of(tree):
        if tensor.nbytes and shared(path):
            seen = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            earlier = first.setdefault(seen, path)
            if earlier != path:
                found[path] = earlier
    return found


def same_as_text(same: Mapping[TreePath, TreePath]) -> dict[str, str]:
    """What `same_tensors` found, as the plain value that a state keeps under `SAME_KEY`."""
    return {_text_of(path): _text_of(earlier) for path, earlier in same.items()}


def put_same(state: dict[str, Any]) -> None:
    """Put the tensors that were written once in all their places, and remove `SAME_KEY`. KeyError where one lacks."""
    written = dict(tensors_of(state))
    same = {_path_of(path): written[_path_of(earlier)] for path, earlier in state.pop(SAME_KEY, {}).items()}
    with_tensors(state, same)


def write_shard(folder: Path, tensors: dict[TreePath, Tensor], world: World) -> None:
    """Write the tensors of this process into `folder`; every process must call it. Raises OSError, also another's.

    The files are safetensors, which hold no code, instead of the pickles of torch's own format.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    state = {_text_of(path): tensor for path, tensor in tensors.items()}
    alone = world.size == 1
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            save(
                state,
                storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
                process_group=None if alone else world.save_group,
                no_dist=alone,
            )
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError)), _fault(causes)) from None


def _fault(causes: list[BaseException]) -> FaultError:
    first = str(causes[0]).split("\n", 1)[0][:200] if causes else "unknown"
    return FaultError(f"The checkpoint could not be written: {first}", hint="Run the same command again.")


def shard_names(folder: Path, rank: int) -> list[str]:
    """Names of the files that the process `rank` has written."""
    return sorted(path.name for path in folder.glob(f"shard-{rank + 1:05d}-*.safetensors"))


def add_tensors(tree: Any, folder: Path) -> None:
    """Put the tensors of all files in `folder` in their places of `tree`; they are read when they are used."""
    for file in sorted(folder.glob(SHARD_PATTERN)):
        with_tensors(tree, {_path_of(text): tensor for text, tensor in safetensors.torch.load_file(file).items()})


def with_tensors(tree: Any, tensors: Mapping[TreePath, Tensor]) -> Any:
    """`tree` with tensors put in their places; mappings on the way are made."""
    for path, tensor in tensors.items():
        *parents, last = path
        node: Any = tree
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[last] = tensor
    return tree


def _text_of(path: TreePath) -> str:
    return "/".join(f"#{key}" if isinstance(key, int) else key for key in path)


def _path_of(text: str) -> TreePath:
    return tuple(int(part[1:]) if part.startswith("#") else part for part in text.split("/"))
