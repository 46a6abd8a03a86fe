"""As much of the module `ray` as the pool uses, in one process: calls run when somebody waits for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gazetools.io.child_process import end_process


class RayError(Exception):
    """Ray's base class of errors."""


class FakeRay:
    """Keeps account of what the pool asks for; `lose_first` names the method whose first call loses its actor."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, *, room: int = 99, lose_first: str = "") -> None:
        self.room = room
        self.options: dict[str, Any] = {}
        self.actors: list[FakeActor] = []
        self._lose_first = lose_first

    def remote(self, actor_class: type) -> FakeRay:
        self._class = actor_class
        outer = self

        class Handle:
            def options(self, **options: Any) -> Handle:
                outer.options = options
                return self

            def remote(self) -> FakeActor:
                outer.actors.append(FakeActor(actor_class(), placed=len(outer.living()) < outer.room))
                return outer.actors[-1]

        return Handle()  # type: ignore[return-value]

    def living(self) -> list[FakeActor]:
        return [actor for actor in self.actors if actor.placed and not actor.dead]

    def put(self, value: Any) -> Any:
        return value

    def wait(self, calls: list[Call], *, num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        assert len({id(call.actor) for call in calls}) == len(calls), "two calls under way for one actor"
        ready = [call for call in calls if call.actor.placed][:num_returns]
        return ready, [call for call in calls if call not in ready]

    def get(self, call: Call) -> Any:
        if call.name == self._lose_first:
            self._lose_first = ""
            call.actor.die()
        if call.actor.dead:
            raise RayError("The actor died unexpectedly before finishing this task.\n\tclass_name: WorkerActor")
        return call.run()

    def kill(self, actor: FakeActor, *, no_restart: bool) -> None:
        assert no_restart
        actor.die()

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}


class FakeActor:
    """An actor handle: every method has `.remote`."""

    def __init__(self, instance: Any, *, placed: bool) -> None:
        self.instance = instance
        self.placed = placed
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args, **kwargs: Call(self, name, args, kwargs))

    def die(self) -> None:
        if not self.dead and "_process" in vars(self.instance):
            end_process(self.instance._process)
        self.dead = True


class Call:
    """A call under way."""

    def __init__(self, actor: FakeActor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.actor = actor
        self.name = name
        self.run = lambda: getattr(actor.instance, name)(*args, **kwargs)
