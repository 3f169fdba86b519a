"""Panes of rows: they find their place when shown late, and build nothing while they leave."""

import asyncio

from piloted import drive, until
from textual.containers import Vertical

from tui.rows import row
from tui.widgets.pane import Pane


def test_a_pane_of_its_own_height_that_is_shown_late_builds_its_rows(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: wizard.screen.query("#work"))
        texts = []
        pane = Pane(lambda width, _h: [row(f"{text} in {width}") for text in texts])
        pane.styles.height, pane.display = "auto", False
        await wizard.screen.query_one("#work", Vertical).mount(pane)
        await pilot.pause()
        pane.display = True
        pane.update()
        await asyncio.sleep(0.4)
        assert pane.size.height == 0
        texts += ["one", "two"]
        pane.update()
        await until(pilot, lambda: pane.size.height == 2)
        await until(pilot, lambda: pane.rows == [row("one in 80"), row("two in 80")])

    drive(wizard, script)


def test_a_pane_that_leaves_builds_nothing_from_what_left_before_it(make_wizard):
    wizard = make_wizard()

    async def script(pilot):
        await until(pilot, lambda: wizard.screen.query("#work"))
        work = wizard.screen.query_one("#work", Vertical)
        told = Pane(id="told")
        pane = Pane(lambda _w, _h: [row(f"{wizard.screen.query_one('#told').size.width} cells")])
        group = Vertical(told, pane)
        await work.mount(group)
        await until(pilot, lambda: pane.rows)
        await told.remove()
        removal = group.remove()
        pane.update()
        pane._arrange()
        await removal

    drive(wizard, script)
