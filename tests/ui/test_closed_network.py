"""Everything works on a machine that is cut off: the app starts and answers where no network is to be had."""

import json

import closed_network_app as app
import namespaces
import pytest


@pytest.mark.skipif(not namespaces.is_available("-rn", "true"), reason="no network namespaces here")
def test_the_app_answers_without_a_network(tmp_path):
    output = namespaces.run_script("-rn", app.__file__, cwd=tmp_path)
    answers = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [each["pipeline"] for each in answers] == list(app.ASKED)
    assert all(each["files"] >= 2 for each in answers)
