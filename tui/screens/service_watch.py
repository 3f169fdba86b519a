"""Looks after the services of the run that is shown: whether they answer, and their end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.deploy.services import stop_service
from pipeline.errors import Failure, as_failure
from pipeline.run import Run
from pipeline.status import service_name
from tui.deploy_rows import Probe
from tui.deploying import probe_services
from tui.screens.step import StepScreen


class ServiceWatch:
    """What was found of a run's services a moment ago.

    Attributes:
        fault: why they couldn't be looked at; empty when they could.
        stopping: the name of the service that is being stopped; empty for none.
    """

    def __init__(self, screen: StepScreen, changed: Callable[[], None]) -> None:
        self._probes: Mapping[str, Probe] | None = None
        self.fault = ""
        self.stopping = ""
        self._screen, self._changed = screen, changed
        self._run: Run | None = None
        self._looking = False

    @property
    def probes(self) -> Mapping[str, Probe] | None:
        """Every service of the run that is shown; None before the first look at it."""
        snapshot = self._screen.snapshot
        return self._probes if snapshot and snapshot.run == self._run else None

    @property
    def service(self) -> Probe | None:
        """The service that the recipe means, if it was started."""
        snapshot = self._screen.snapshot
        if snapshot is None or not self.probes:
            return None
        return self.probes.get(service_name(snapshot.variant, snapshot.recipe))

    def look(self) -> None:
        """Ask every service of the run, in a thread, unless that is being done."""
        snapshot, wizard = self._screen.snapshot, self._screen.wizard
        if snapshot is None or self._looking or not self._screen.is_current:
            return
        self._looking = True

        def look() -> None:
            probes: Mapping[str, Probe] = {}
            fault = ""
            try:
                probes = probe_services(snapshot.run)
            except (Failure, OSError) as error:
                fault = as_failure(error).happened
            finally:
                wizard.call_from_thread(self._found, snapshot.run, probes, fault)

        self._screen.run_worker(look, thread=True, group="probe", exit_on_error=False)

    def _found(self, run: Run, probes: Mapping[str, Probe], fault: str) -> None:
        self._looking = False
        snapshot = self._screen.snapshot
        if snapshot is None or run != snapshot.run:
            return
        before = self._told() if run == self._run else None
        self._probes, self.fault, self._run = probes, fault, run
        if before is None:
            answers = self.service is not None and self.service.answers
            changed = answers != (snapshot.state("deploy") == "done")
        else:
            changed = before != self._told()
        if changed:
            # A service that comes or goes leaves no mark in the run folder.
            self._screen.wizard.read_run()
        self._changed()

    def _told(self) -> list[tuple[str, bool]]:
        return [(probe.record.instance, probe.answers) for probe in (self.probes or {}).values()]

    def stop(self, name: str) -> None:
        """Stop a service in a thread: it may finish what it has begun."""
        snapshot, wizard = self._screen.snapshot, self._screen.wizard
        if snapshot is None or self.stopping:
            return
        self.stopping = name

        def stop() -> None:
            failure: Failure | None = None
            try:
                stop_service(snapshot.run, name)
            except (Failure, OSError) as error:
                failure = as_failure(error)
            finally:
                wizard.call_from_thread(self._stopped, name, failure)

        self._screen.run_worker(stop, thread=True, group="stop", exit_on_error=False)
        self._changed()

    def _stopped(self, name: str, failure: Failure | None) -> None:
        self.stopping = ""
        if failure:
            self._screen.wizard.fail(failure)
        else:
            self._screen.wizard.say(f"The service {name} is stopped; the export is kept.", "good")
        self._screen.wizard.read_run()
        self.look()
        self._changed()
