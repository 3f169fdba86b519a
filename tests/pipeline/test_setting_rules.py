"""What a refused setting is told with."""

from __future__ import annotations

import pytest

from pipeline.errors import BadRecipe
from pipeline.recipe import Recipe, apply


@pytest.mark.parametrize("given", [[], ["int8", "fp16"], ["fp16", "int8"]])
def test_refused_dtypes_are_shown_as_they_were_given(given):
    with pytest.raises(BadRecipe) as caught:
        apply(Recipe(), {"export.dtypes": given}, "--set")
    said = f"--set: export.dtypes = {given!r}, but it must be fp32, fp16 or both."
    assert caught.value.happened == said
