"""How contents become views, and how their vectors become one."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sidecar.recipe import MOST_TILES, Recipe, pooled
from sidecar.settings import Settings

FIVE = Recipe(crop_size=280, size=336)


def gradient(width: int, height: int) -> Image.Image:
    """A picture whose pixels tell where they are: red = x, green = y."""
    x, y = np.meshgrid(np.arange(width) % 256, np.arange(height) % 256)
    return Image.fromarray(np.stack([x, y, 0 * x], axis=2).astype(np.uint8))


def place(view: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, width, height of a view in its gradient."""
    left, top, _ = view.getpixel((0, 0))  # type: ignore[misc]
    return left, top, *view.size


def test_without_a_recipe_there_is_one_view() -> None:
    image = gradient(64, 48)
    assert Recipe().pictures(image) == [image]
    assert Recipe().texts("a cat") == ["a cat"]
    assert Recipe.of(Settings(), 336).name == ""


def test_five_crops_are_the_corners_and_the_centre() -> None:
    views = FIVE.pictures(gradient(240, 120))
    assert [place(view) for view in views] == [
        (0, 0, 100, 100),
        (140, 0, 100, 100),
        (0, 20, 100, 100),
        (140, 20, 100, 100),
        (70, 10, 100, 100),
    ]


def test_each_scale_has_five_crops_and_none_is_larger_than_the_picture() -> None:
    views = Recipe(crop_size=280, size=336, scales=(0.5, 1.0, 2.0)).pictures(gradient(120, 120))
    assert [view.size for view in views] == [(120, 120)] * 5 + [(100, 100)] * 5 + [(50, 50)] * 5


@pytest.mark.parametrize("upright", [False, True])
def test_a_panorama_becomes_tiles_that_cover_it_and_overlap(upright: bool) -> None:
    size = (20, 200) if upright else (200, 20)
    views = FIVE.pictures(gradient(*size))
    assert all(view.size == (20, 20) for view in views)
    starts = [place(view)[1 if upright else 0] for view in views]
    assert (starts[0], starts[-1]) == (0, 180)
    steps = np.diff(starts)
    assert steps.max() <= 15 + 1
    assert steps.min() > 0


def test_a_strip_has_a_bounded_number_of_tiles() -> None:
    views = FIVE.pictures(gradient(5000, 1))
    assert len(views) == MOST_TILES
    assert {view.size for view in views} == {(1, 1)}


def test_a_picture_of_one_pixel_has_views() -> None:
    assert [view.size for view in FIVE.pictures(gradient(1, 1))] == [(1, 1)] * 5


def test_templates_surround_the_text_whatever_it_holds() -> None:
    recipe = Recipe(templates=("a photo of %s", "%s, drawn"))
    assert recipe.texts("100%s {0} \\1") == ["a photo of 100%s {0} \\1", "100%s {0} \\1, drawn"]


def test_pooled_vectors_are_unit_means_of_their_views() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [-1, 0]], dtype=np.float32)
    result = pooled(vectors, [2, 1, 2])
    np.testing.assert_allclose(result[0], [0.5**0.5, 0.5**0.5], rtol=1e-6)
    np.testing.assert_array_equal(result[1], [0, 1])
    assert np.isfinite(result).all()
    assert result.dtype == np.float32


def test_one_view_each_is_left_as_it_is() -> None:
    vectors = np.ones((3, 2), dtype=np.float32)
    assert pooled(vectors, [1, 1, 1]) is vectors


def test_vectors_that_are_missing_are_noticed() -> None:
    with pytest.raises(ValueError, match="2 vectors for 3 inputs"):
        pooled(np.ones((2, 2), dtype=np.float32), [1, 1, 1])


def test_the_name_tells_recipes_apart() -> None:
    settings = [
        Settings(),
        Settings(enable_tta=True),
        Settings(enable_tta=True, tta_crop_size=200),
        Settings(enable_tta=True, tta_scales=(1.0, 1.5)),
        Settings(enable_tta=True, panorama_max_ratio=3),
        Settings(text_templates=("%s!",)),
        Settings(text_templates=("%s?",)),
    ]
    names = [Recipe.of(one, 336).name for one in settings]
    assert len(set(names)) == len(names)
    assert names[:2] == ["", "tta=294@1,panorama=2.6"]
    # What has no effect without ENABLE_TTA makes no other name.
    assert Recipe.of(Settings(tta_crop_size=200, panorama_max_ratio=9), 336).name == ""
