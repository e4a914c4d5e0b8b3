"""The documentation is in the package, describes the score route fully, and can be left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from service.app.edge import Edge
from service.settings import Limits
from tests.service.pumps import Caller
from tests.service.table_forms import CSV, EVERY_FORM, LINES
from tests.service.weave import ImageCaller, files_of
from tests.textiles import normal_images


def references(node: Any) -> set[str]:
    match node:
        case dict():
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*map(references, node.values()))
        case list():
            return set().union(*map(references, node))
        case _:
            return set()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(caller: Caller, path: str) -> None:
    page = caller("GET", path).text
    assets = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page)

    assert assets
    for asset in assets:
        assert asset.startswith("/")
        assert caller("GET", asset).status_code == 200


@pytest.mark.parametrize(
    ("fixture", "answer"), [("caller", "Answer"), ("image_caller", "ImageAnswer")]
)
def test_every_reference_in_the_description_leads_somewhere(
    fixture: str, answer: str, request: pytest.FixtureRequest
) -> None:
    description = request.getfixturevalue(fixture)("GET", "/openapi.json").json()

    found = references(description)

    assert f"#/components/schemas/{answer}" in found
    for reference in found:
        node = description
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_score_route_describes_its_body_its_answers_and_its_query(caller: Caller) -> None:
    operation = caller("GET", "/openapi.json").json()["paths"]["/v1/score"]["post"]

    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    assert [p["name"] for p in operation["parameters"]] == ["explain", "alpha", "mode"]
    assert set(operation["requestBody"]["content"]) == {"application/json", *EVERY_FORM}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", *EVERY_FORM}
    forms = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [form["required"] for form in forms] == [["columns", "rows"], ["records"]]


def test_every_example_is_accepted_by_the_model_that_shows_it(caller: Caller) -> None:
    operation = caller("GET", "/openapi.json").json()["paths"]["/v1/score"]["post"]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]

    assert examples
    for example in examples.values():
        answer = caller.score(example["value"])
        assert answer.status_code == 200
        assert len(answer.json()["scores"]) == 2
    for form in (CSV, LINES):
        text = operation["requestBody"]["content"][form]["example"]
        answer = caller("POST", "/v1/score", content=text, headers={"content-type": form})
        assert answer.status_code == 200


def test_an_answer_holds_what_the_description_promises(caller: Caller) -> None:
    description = caller("GET", "/openapi.json").json()["components"]["schemas"]
    example = caller("GET", "/openapi.json").json()["paths"]["/v1/score"]["post"]["requestBody"]
    body = example["content"]["application/json"]["examples"]["partial"]["value"]

    answer = caller.score(body, "?explain=true").json()
    refusal = caller.score(b"").json()
    model = caller("GET", "/v1/model").json()

    for document, name in ((answer, "Answer"), (refusal, "Problem"), (model, "ModelInfo")):
        assert document.keys() <= description[name]["properties"].keys()
        assert set(description[name]["required"]) <= document.keys()


def test_the_score_route_of_images_describes_its_form_its_answers_and_its_query(
    make_image_app: Callable[..., Edge],
) -> None:
    caller = ImageCaller(make_image_app(limits=Limits(images=3)))
    operation = caller("GET", "/openapi.json").json()["paths"]["/v1/score"]["post"]
    content = operation["requestBody"]["content"]

    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "503"}
    assert {"explain", "alpha", "mode"} == {p["name"] for p in operation["parameters"]}
    assert set(content) == {"multipart/form-data", "image/png", "image/jpeg"}
    (field,) = content["multipart/form-data"]["schema"]["properties"].items()
    assert field[1]["maxItems"] == 3
    sound = [(field[0], ("a.png", file)) for file in files_of(normal_images(4))]
    assert caller("POST", "/v1/score", files=sound[:3]).status_code == 200
    assert caller("POST", "/v1/score", files=sound).status_code == 413


def test_an_answer_about_images_holds_what_the_description_promises(
    image_caller: ImageCaller,
) -> None:
    description = image_caller("GET", "/openapi.json").json()["components"]["schemas"]

    answer = image_caller.send(files_of(normal_images(1)), "?explain=true&mode=partial").json()
    model = image_caller("GET", "/v1/model").json()

    for document, name in (
        (answer, "ImageAnswer"),
        (answer["explanations"][0], "ImageExplanation"),
        (model, "ModelInfo"),
        (model["images"], "ImageInfo"),
    ):
        assert document.keys() == description[name]["properties"].keys()


@pytest.mark.parametrize("fixture", ["caller", "numbers_caller", "image_caller"])
def test_every_route_without_the_framework_is_described_and_served(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    caller = request.getfixturevalue(fixture)
    model = caller.app.scorer.model
    described = caller("GET", "/openapi.json").json()["paths"]

    place = f"/v2/models/{model.name}"
    of_rows = {
        f"{place}/infer",
        f"{place}/versions/{model.version}/infer",
        "/invocations",
    }
    served = caller.app.direct.keys() - {"/v2/"}
    # Of images it says where they go instead, and that is no way to offer.
    described_not = of_rows if fixture == "image_caller" else set()
    assert served - described.keys() == described_not
    for path in served - described_not:
        for method in described[path]:
            assert caller(method.upper(), path).status_code not in (404, 405)


@pytest.mark.parametrize("fixture", ["caller", "numbers_caller"])
def test_examples_of_other_protocols_are_accepted(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    caller = request.getfixturevalue(fixture)
    paths = caller("GET", "/openapi.json").json()["paths"]
    sent = 0
    for path in (f"/v2/models/{caller.app.scorer.model.name}/infer", "/invocations"):
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        examples = content.get("examples", {"only": {"value": content.get("example")}})
        for example in examples.values():
            assert caller("POST", path, json=example["value"]).status_code == 200
            sent += 1
    assert sent == 5


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_documentation_can_be_left_out(make_app: Callable[..., Edge], path: str) -> None:
    caller = Caller(make_app(docs=False))

    assert caller("GET", path).status_code == 404
    assert caller("GET", "/livez").status_code == 200
