"""The quality page of a cohort, in a browser without a network: it sorts, marks, and gives the marks back."""

from cohort_records import make_record, make_records
from PIL import Image

from medapp.cohorts.group import write_group
from medapp.cohorts.group_table import make_rows, read_marks


def test_quality_page_sorts_marks_and_gives_the_marks_back(browser, tmp_path):
    Image.new("RGB", (90, 30), "grey").save(tmp_path / "picture.jpg")
    records = [make_record("01", "1", 2.0, picture="picture.jpg"), *make_records()[1:]]
    write_group(make_rows(records, {"sub-02_ses-1": "pass"}), tmp_path, tmp_path / "group", "Method")
    context = browser.new_context(offline=True, accept_downloads=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((tmp_path / "group" / "quality.html").as_uri())
    volume = page.get_by_role("button", name="Volume")
    volume.click()
    volume.click()
    assert page.locator("tbody tr").first.get_attribute("data-case") == "sub-04_ses-2"
    assert page.locator("tbody tr").last.get_attribute("data-case") == "sub-05"
    page.locator("tbody tr").first.focus()
    page.keyboard.press("f")
    page.locator('[data-case="sub-03_ses-1"] input[value="pass"]').check()
    page.locator('[data-case="sub-02_ses-1"] input[value="fail"]').check()  # the file says pass
    assert page.locator("img").evaluate("image => image.naturalWidth") == 90
    assert page.get_by_text("<b>check</b> this").count() == len(records) - 1
    for _ in range(5):  # the marks are kept; a busy browser gives them to the next page a moment later
        page.reload()
        if page.locator('[data-case="sub-04_ses-2"] input[value="fail"]').is_checked():
            break
    with page.expect_download() as download:
        page.get_by_role("button", name="Download marks").click()
    download.value.save_as(tmp_path / "quality.tsv")
    assert not errors
    context.close()
    expected = {"sub-02_ses-1": "fail", "sub-03_ses-1": "pass", "sub-04_ses-2": "fail"}
    assert read_marks(tmp_path / "quality.tsv") == expected
