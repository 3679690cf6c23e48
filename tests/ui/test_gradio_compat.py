"""Everything of Gradio's internals that the page relies on is there, and only `gradio_compat` touches it.

A failure names what a new version of Gradio has changed: look up there how it is done now, and adapt the module that
the second column names.
"""

import ast
import inspect
from pathlib import Path

import gradio as gr
import pytest
from starlette.routing import Match

import medapp
from medapp.ui import gradio_compat

ROOT = Path(medapp.__file__).parent
USED = [  # a class of Gradio's, the module that subclasses or calls it, and what that needs of it
    ("Queue", "queue", "__init__ push get_events broadcast_estimations start remove_from_queue clean_events"),
    ("EventQueue", "queue", "__init__"),
    ("StateHolder", "session_state", "__getitem__ set_blocks update"),
    ("SessionState", "session_state", "__init__ __setitem__ _update_config _update_value_in_config"),
]
LAUNCH_OPTIONS = (
    "theme css head max_file_size state_session_capacity mcp_server strict_cors ssr_mode app_kwargs _frontend"
)
PARAMETERS = [  # a function, who overrides or calls it, and the parameters that it has, in their order
    (gr.Blocks.process_api, "page", "block_fn inputs state request iterator session_hash event_id event_data"),
    (gr.Blocks.preprocess_data, "page", "block_fn inputs"),
    (gr.Blocks.queue, "page", "api_open"),
    (
        gr.Blocks.launch,
        "page",
        "max_file_size app_kwargs mcp_server state_session_capacity strict_cors ssr_mode _frontend",
    ),
    (gradio_compat.Queue.__init__, "queue", "live_updates concurrency_count update_intervals max_size blocks"),
    (gradio_compat.Queue.push, "queue", "body request username"),
    (gradio_compat.Queue.clean_events, "queue", "session_hash"),
    (gradio_compat.Queue.remove_from_queue, "queue", "event_id"),
    (gradio_compat.Queue.broadcast_estimations, "queue", "concurrency_id after"),
    (gradio_compat.Event.__init__, "queue", "session_hash fn request username"),
    (gradio_compat.EventQueue.__init__, "queue", "concurrency_id concurrency_limit"),
    (gradio_compat.construct_args, "request_checks", "parameters_info args kwargs"),
    (gradio_compat.processing_utils.async_ssrf_protected_download, "uploads", "url cache_dir"),
    (gradio_compat.processing_utils.async_ssrf_protected_get, "uploads", "url"),
    (gradio_compat.route_utils.get_fn, "queue", "blocks api_name body"),
]
HOLDER_ATTRIBUTES = "session_data time_last_used capacity lock"
QUEUE_ATTRIBUTES = (
    "blocks event_queue_per_concurrency_id pending_messages_per_session pending_event_ids_session event_ids_to_events "
    "pending_message_lock stopped"
)
EVENT_ATTRIBUTES = "session_hash fn _id alive enqueue_time concurrency_id data"
BLOCKS_ATTRIBUTES = "blocks fns default_config max_threads state_holder _queue config"
APP_ATTRIBUTES = "get_blocks api_info state_holder middleware_stack"
MCP_ATTRIBUTES = (
    "convert_strings_to_filedata _get_or_create_client _execute_tool_without_progress _execute_tool_with_progress "
    "get_block_fn_from_endpoint_name"
)


@pytest.fixture(scope="module")
def blocks():
    with gr.Blocks() as blocks:
        box = gr.Textbox()
        gr.Button().click(lambda text: text, box, box, api_name="echo")
    return blocks


@pytest.fixture(scope="module")
def app(blocks):
    return gr.routes.App.create_app(blocks, app_kwargs={})


def missing(owner: object, names: str) -> list[str]:
    return [name for name in names.split() if not hasattr(owner, name)]


@pytest.mark.parametrize(("name", "module", "methods"), USED, ids=[row[0] for row in USED])
def test_classes_have_the_methods(name, module, methods):
    assert not missing(getattr(gradio_compat, name), methods), f"used in medapp/ui/{module}.py"


@pytest.mark.parametrize(("function", "module", "names"), PARAMETERS, ids=[row[0].__qualname__ for row in PARAMETERS])
def test_functions_have_the_parameters(function, module, names):
    parameters = list(inspect.signature(function).parameters)
    assert not set(names.split()) - set(parameters), f"used in medapp/ui/{module}.py"
    if module in ("queue", "uploads"):  # calls or overrides it by position
        assert [name for name in parameters if name != "self"][: len(names.split())] == names.split()


def test_objects_have_the_attributes(blocks, app):
    queue = gradio_compat.Queue(True, blocks.max_threads, 1, None, blocks, 1)
    event = gradio_compat.Event("session", next(iter(blocks.fns.values())), None, None)
    lacking = {
        "Queue": missing(queue, QUEUE_ATTRIBUTES),
        "EventQueue": missing(gradio_compat.EventQueue("line", 1), "queue current_concurrency"),
        "Event": missing(event, EVENT_ATTRIBUTES),
        "Blocks": missing(blocks, BLOCKS_ATTRIBUTES),
        "BlockFunction": missing(event.fn, "fn inputs targets api_name collects_event_data concurrency_id _id"),
        "Component": missing(gr.Textbox(), "stateful skip_api value"),
        "StateHolder": missing(gradio_compat.StateHolder(), HOLDER_ATTRIBUTES),
        "SessionState": missing(gradio_compat.SessionState(blocks), "config_values"),
        "App": missing(app, APP_ATTRIBUTES),
        "LocalContext": missing(gradio_compat.LocalContext, "blocks event_id"),
        "route_utils": missing(gradio_compat.route_utils, "SessionState get_fn"),
        "PredictBodyInternal": [
            name
            for name in ["data", "fn_index", "session_hash", "event_id", "event_data", "batched"]
            if name not in gradio_compat.PredictBodyInternal.model_fields
        ],
    }
    assert not {owner: names for owner, names in lacking.items() if names}


def test_the_mcp_server_has_the_methods():
    pytest.importorskip("mcp")
    server = gradio_compat.find_mcp_server()
    assert server is not None and not missing(server, MCP_ATTRIBUTES)
    source = inspect.getsource(inspect.getmodule(server))
    for call in ("self.SseServerTransport(", "self.StreamableHTTPSessionManager(", "self._get_or_create_client"):
        assert call in source, "used in medapp/ui/mcp_tools.py"
    from mcp.server.sse import SseServerTransport
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    for library_class in (SseServerTransport, StreamableHTTPSessionManager):
        assert "max_request_body_size" in inspect.signature(library_class).parameters


def test_addresses_are_fetched_by_the_replaced_functions_alone():
    source = "".join(path.read_text("utf-8") for path in Path(gr.__file__).parent.glob("*.py"))
    for name in gradio_compat.DOWNLOADS:
        assert f"processing_utils.{name}" in source or f"await {name}(" in source, name
    with_other_client = [name for name in ("urllib.request.urlopen(", "requests.get(") if name in source]
    assert not with_other_client, "Gradio opens addresses in another way: see medapp/ui/uploads.py"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{gradio_compat.FILE_PATH}/scan.nii"),
        ("GET", f"{gradio_compat.HEARTBEAT_PATH}session"),
        ("GET", gradio_compat.STARTUP_PATH),
        ("GET", f"{gradio_compat.API_PATH}/queue/data"),
        ("GET", f"{gradio_compat.API_PATH}/upload_progress"),
        ("GET", f"{gradio_compat.CALL_PATH}/echo/event"),
        ("POST", gradio_compat.JOIN_PATH),
        ("POST", gradio_compat.UPLOAD_PATH),
        ("POST", f"{gradio_compat.CALL_PATH}/echo"),
        ("POST", f"{gradio_compat.CALL_PATH}/v2/echo"),
        ("POST", f"{gradio_compat.API_PATH}/run/echo"),
        ("POST", f"{gradio_compat.API_PATH}/cancel"),
        ("POST", f"{gradio_compat.API_PATH}/reset"),
    ],
)
def test_the_addresses_are_served(app, method, path):
    scope = {"type": "http", "method": method, "path": path, "root_path": ""}
    assert Match.FULL in [route.matches(scope)[0] for route in app.routes]


def imports(path: Path) -> list[str]:
    """The modules that a file imports; of `from gradio import x`, gradio.x."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            within = node.module.split(".")[0] == "gradio"
            modules += [f"{node.module}.{alias.name}" for alias in node.names] if within else [node.module]
    return modules


def test_only_one_module_imports_parts_of_gradio():
    importers = {
        str(path.relative_to(ROOT)): module
        for path in ROOT.rglob("*.py")
        for module in imports(path)
        if module.startswith(("gradio.", "gradio_client"))
    }
    assert set(importers) == {"ui/gradio_compat.py"}, importers
