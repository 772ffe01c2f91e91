"""Horizontally fused training: several runs in lock step, with batched networks and losses.

Each run is ordinary code in its own thread, and only one thread runs at a time. To evaluate its
network, a loss or gradients, a run submits a request and waits. Once all runs are waiting, requests
with equal keys are computed as one batch over stacked parameters (``torch.func``), the others one
by one. Runs may therefore differ in any way, and only matching parts are fused (HFTA, Wang et al.,
MLSys 2021, arXiv:2102.02344). Results equal those of separate training up to rounding. Outside
``train_together`` every request is computed immediately.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Answer = Any
"""Result of a request: the tensors that a network or a loss returns, or None for gradients."""
_here = threading.local()
_builds: WeakKeyDictionary[nn.Module, Hashable] = WeakKeyDictionary()


def forward(network: nn.Module, images: Tensor) -> Answer:
    """Compute ``network(images)``."""
    group = _group()
    if group is None:
        return network(images)
    return group.submit(_Forward(network, images))


def loss(function: Callable[..., Tensor], *tensors: Tensor, **options: object) -> Tensor:
    """Compute ``function(*tensors, **options)``, which must not depend on anything else."""
    group = _group()
    if group is None:
        return function(*tensors, **options)
    answer: Tensor = group.submit(_Loss(function, tensors, options))
    return answer


def backward(total: Tensor) -> None:
    """Run ``total.backward()``."""
    group = _group()
    if group is None:
        total.backward()
    else:
        group.submit(_Backward(total))


def company() -> int:
    """Return the number of runs started together with the calling one, including itself."""
    group = _group()
    return 1 if group is None else group.size


def train_together(calls: Sequence[Callable[[], None]]) -> None:
    """Execute the calls, each of which trains one run, and return when all have returned.

    If a call raises, the others still finish; the first exception is raised at the end.
    """
    _LockstepGroup(len(calls)).run(calls)


def _group() -> _LockstepGroup | None:
    return getattr(_here, "group", None)


class _Mode(NamedTuple):
    """PyTorch modes of a thread: gradients, autocast and its dtype."""

    has_gradient: bool
    is_mixed: bool
    dtype: torch.dtype


class _Request(ABC):
    """A computation that one run requests."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        kind = device.type
        self.mode = _Mode(
            torch.is_grad_enabled(),
            torch.is_autocast_enabled(kind),
            torch.get_autocast_dtype(kind),
        )

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """Key that is equal for requests that can be batched."""

    @abstractmethod
    def compute_single(self) -> Answer:
        """Compute this request alone."""

    @abstractmethod
    def compute_batched(self, requests: Sequence[Any]) -> list[Answer]:
        """Compute requests of equal key, including this one, as one batch."""


class _Forward(_Request):
    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__(images.device)
        self.network, self.images = network, images

    @property
    def key(self) -> Hashable:
        modes = tuple(module.training for module in self.network.modules())
        inputs = (self.images.shape, self.images.dtype, self.device)
        return ("forward", _build(self.network), modes, inputs, self.mode)

    def compute_single(self) -> Answer:
        return self.network(self.images)

    def compute_batched(self, requests: Sequence[_Forward]) -> list[Answer]:
        states = [_state(request.network) for request in requests]
        stacked = {name: torch.stack([each[name] for each in states]) for name in states[0]}

        def one(state: dict[str, Tensor], images: Tensor) -> Answer:
            return functional_call(self.network, state, (images,))

        images = torch.stack([request.images for request in requests])
        found = vmap(one)(stacked, images)
        with torch.no_grad():
            for name, _ in self.network.named_buffers():  # running statistics
                for state, own in zip(states, stacked[name].unbind(), strict=True):
                    state[name].copy_(own)
        parts = [part.unbind() for part in found]
        return [type(found)(*own) for own in zip(*parts, strict=True)]


class _Loss(_Request):
    def __init__(
        self,
        function: Callable[..., Tensor],
        tensors: Sequence[Tensor],
        options: dict[str, object],
    ) -> None:
        super().__init__(tensors[0].device)
        self.function, self.tensors, self.options = function, tensors, options

    @property
    def key(self) -> Hashable:
        shapes = tuple((x.shape, x.dtype, x.device) for x in self.tensors)
        return ("loss", self.function, repr(self.options), shapes, self.mode)

    def compute_single(self) -> Tensor:
        return self.function(*self.tensors, **self.options)

    def compute_batched(self, requests: Sequence[_Loss]) -> list[Tensor]:
        columns = zip(*(request.tensors for request in requests), strict=True)
        stacked = [torch.stack(list(column)) for column in columns]
        found = vmap(lambda *tensors: self.function(*tensors, **self.options))(*stacked)
        return list(found.unbind())


class _Backward(_Request):
    def __init__(self, total: Tensor) -> None:
        super().__init__(total.device)
        self.total = total

    @property
    def key(self) -> Hashable:
        return ("backward", self.device)

    def compute_single(self) -> None:
        self.total.backward()

    def compute_batched(self, requests: Sequence[_Backward]) -> list[None]:
        # No run's loss depends on another run's parameters, so each gets its own gradient.
        torch.stack([request.total for request in requests]).sum().backward()
        return [None] * len(requests)


class _Failed(NamedTuple):
    """Error of a run, in place of its result."""

    error: BaseException


class _LockstepGroup:
    """Scheduler for the runs of one ``train_together`` call: whose turn it is, pending requests."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._moved = threading.Condition()
        self._turn: int | None = None
        self._ready = dict.fromkeys(range(size))  # ordered: turns do not depend on timing
        self._asked: dict[int, _Request] = {}
        self._answers: dict[int, Answer] = {}
        self._not_batched: set[Hashable] = set()
        self._error: BaseException | None = None

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        """Run each call in its own thread; see ``train_together``."""
        threads = [
            threading.Thread(
                target=self._live, args=(number, call), name=f"run {number}", daemon=True
            )
            for number, call in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        with self._moved:
            self._give_turn()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def submit(self, request: _Request) -> Answer:
        """Submit a request of the running thread and wait for its result."""
        number: int = _here.number
        randomness = _random_state(request.device)
        with self._moved:
            self._asked[number] = request
            self._give_turn()
            self._await_turn(number)
            answer = self._answers.pop(number)
        _set_random_state(request.device, randomness)  # other runs may have changed it meanwhile
        if isinstance(answer, _Failed):
            raise answer.error
        return answer

    def _live(self, number: int, call: Callable[[], None]) -> None:
        _here.group, _here.number = self, number
        with self._moved:
            self._await_turn(number)
        try:
            call()
        except BaseException as error:
            self._error = self._error or error
        finally:
            with self._moved:
                self._give_turn()

    def _await_turn(self, number: int) -> None:
        self._moved.wait_for(lambda: self._turn == number)

    def _give_turn(self) -> None:
        """Wake the next run; if all are waiting, compute the pending requests first."""
        if not self._ready:
            self._answer()
        self._turn = next(iter(self._ready), None)
        if self._turn is not None:
            del self._ready[self._turn]
        self._moved.notify_all()

    def _answer(self) -> None:
        """Compute the pending requests, batching those with equal keys.

        Backward requests wait until every pending request is one: fused runs share one autograd
        graph, and the first backward pass through it would free its buffers.
        """
        everyone = sorted(self._asked)
        now = [each for each in everyone if not isinstance(self._asked[each], _Backward)]
        now = now or everyone
        requests = {number: self._asked.pop(number) for number in now}
        try:
            self._answers |= self._answers_to_all(requests)
        except BaseException as error:  # otherwise the waiting runs would never wake
            self._answers |= dict.fromkeys(now, _Failed(error))
        self._ready = dict.fromkeys(now)

    def _answers_to_all(self, requests: Mapping[int, _Request]) -> dict[int, Answer]:
        alike: dict[Hashable, list[int]] = {}
        for number, request in requests.items():
            alike.setdefault(request.key, []).append(number)
        found: dict[int, Answer] = {}
        for key, numbers in alike.items():
            answers = self._answers_to(key, [requests[number] for number in numbers])
            found |= dict(zip(numbers, answers, strict=True))
        return found

    def _answers_to(self, key: Hashable, requests: list[_Request]) -> list[Answer]:
        with _as_in(requests[0]):
            if len(requests) > 1 and key not in self._not_batched:
                try:
                    return requests[0].compute_batched(requests)
                except Exception as error:
                    if isinstance(requests[0], _Backward):  # backward cannot be repeated
                        return [_Failed(error)] * len(requests)
                    # Cannot be batched, or a single request fails: compute them one by one.
                    self._not_batched.add(key)
            return [_compute_single(request) for request in requests]


def _compute_single(request: _Request) -> Answer:
    try:
        return request.compute_single()
    except Exception as error:
        return _Failed(error)


def _as_in(request: _Request) -> ExitStack:
    """Restore the PyTorch modes of the thread that made the request."""
    mode, stack = request.mode, ExitStack()
    stack.enter_context(torch.set_grad_enabled(mode.has_gradient))
    kind = request.device.type
    stack.enter_context(torch.autocast(kind, dtype=mode.dtype, enabled=mode.is_mixed))
    return stack


def _build(network: nn.Module) -> Hashable:
    """Key that is equal for networks of the same architecture."""
    if network not in _builds:
        shapes = tuple((name, x.shape, x.dtype) for name, x in _state(network).items())
        # The text includes what shapes do not show: strides, padding, slopes.
        _builds[network] = (str(network), shapes)
    return _builds[network]


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


class _Randomness(NamedTuple):
    """State of the global random generators."""

    torch_cpu: Tensor
    torch_cuda: Tensor | None
    numpy: Any


def _random_state(device: torch.device) -> _Randomness:
    is_cuda = device.type == "cuda"
    numbers = np.random.get_state()  # noqa: NPY002 - used only by other libraries
    return _Randomness(
        torch.get_rng_state(), torch.cuda.get_rng_state(device) if is_cuda else None, numbers
    )


def _set_random_state(device: torch.device, state: _Randomness) -> None:
    torch.set_rng_state(state.torch_cpu)
    if state.torch_cuda is not None:
        torch.cuda.set_rng_state(state.torch_cuda, device)
    np.random.set_state(state.numpy)  # noqa: NPY002
