"""What schemathesis cannot know of Dacapo: keys, things that exist, and bodies that are not JSON.

`cargo xtask test --only fuzz` starts a server with the task `echo` and sets the variables below.
Most requests name things that exist, so that they get past the first 404; the others keep what was
generated. Which they are is a pure function of the request, so that a failure can be tried again.
"""

import json
import os
import urllib.request
import zlib
from urllib.parse import parse_qs, urlsplit

import schemathesis
from hypothesis import strategies as st

URL = os.environ["DACAPO_URL"]
KEY = os.environ["DACAPO_KEY"]
ADMIN_KEY = os.environ["DACAPO_ADMIN_KEY"]

with open(os.environ["DACAPO_COMPONENT"], "rb") as file:
    COMPONENT = file.read()


def ask(method, path, body=None, content_type="application/json", key=KEY):
    data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    request = urllib.request.Request(path if "://" in path else URL + path, data=data, method=method)
    request.add_header("authorization", f"Bearer {key}")
    request.add_header("content-type", content_type)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read() or b"null")


def delayed_run():
    return ask("POST", "/api/v1/tasks/echo/trigger", {"payload": 1, "options": {"delay": "300d"}})["id"]


def schedule():
    plan = {"task": "echo", "cron": "0 3 * * *", "deduplicationKey": "fuzz"}
    return ask("POST", "/api/v1/schedules", plan)["id"]


def variable():
    ask("POST", "/api/v1/projects/p/envvars/dev", {"name": "FUZZ", "value": "1"})
    return "FUZZ"


def api_key():
    return ask("POST", "/admin/v1/keys", {"environment": "dev"}, key=ADMIN_KEY)["id"]


def make_what_exists():
    """One of each kind, by the name that it has in paths."""
    ended = ask("POST", "/api/v1/tasks/echo/trigger?wait=30s", {"payload": {"a": 1}, "options": {"tags": ["fuzz"]}})
    batch = ask("POST", "/api/v3/batches", {"runCount": 2})["id"]
    item = b'{"index":0,"task":"echo","payload":1}\n'
    ask("POST", f"/api/v3/batches/{batch}/items", item, "application/x-ndjson")
    bulk = ask("POST", "/api/v1/bulk-actions", {"action": "cancel", "runIds": [ended["id"]]})["id"]
    token = ask("POST", "/api/v1/waitpoints/tokens", {"tags": ["fuzz"]})
    ask("PUT", ask("PUT", "/api/v2/packets/fuzz.json")["presignedUrl"], [1])
    deployment = ask("GET", "/api/v1/deployments/current")["version"]
    return {
        "batch": [batch],
        "bulk": [bulk],
        "code": [token["url"].rsplit("/", 1)[1]],
        "deployment": [deployment],
        "environment": ["dev"],
        "field": ["payload", "output"],
        "path": ["fuzz.json"],
        "project": ["p"],
        "queue": [queue["id"] for queue in ask("GET", "/api/v1/queues")["data"]],
        "run": [ended["id"], delayed_run()],
        "span": [ask("GET", f"/api/v1/runs/{ended['id']}/trace")["trace"]["rootSpan"]["id"]],
        "stream": ["out"],
        "target": ["self"],
        "task": ["echo"],
        "token": [token["id"]],
    }


EXISTING = make_what_exists()

# What some requests end, by the end of their path: made again for each of them.
FRESH = {
    "/{run}/reschedule": ("run", delayed_run),
    "/{run}/input/{stream}": ("run", delayed_run),
    "/envvars/{environment}/{name}": ("name", variable),
    "/admin/v1/keys/{key}": ("key", api_key),
    "/schedules/{schedule}": ("schedule", schedule),
    "/schedules/{schedule}/activate": ("schedule", schedule),
    "/schedules/{schedule}/deactivate": ("schedule", schedule),
}

# What a text must be to be understood, by the name of its field.
UNDERSTOOD = {
    "cron": "*/5 * * * *",
    "delay": "2h",
    "expirationTime": "1h",
    "environment": "dev",
    "idempotencyKeyTTL": "1h",
    "machine": "small-1x",
    "payloadType": "application/json",
    "scopes": ["read:runs"],
    "task": "echo",
    "timeout": "1h",
    "timezone": "Europe/Paris",
    "ttl": "10m",
}


def items(lines):
    return "\n".join(json.dumps(line) for line in lines).encode()


ITEM = st.fixed_dictionaries(
    {"index": st.integers(-1, 3), "task": st.sampled_from(["echo", "nobody", ""])},
    optional={
        "payload": st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5),
        "options": st.dictionaries(st.sampled_from(["delay", "ttl", "tags", "queue", "maxAttempts"]), st.text()),
    },
)
schemathesis.openapi.media_type("application/x-ndjson", st.lists(ITEM, max_size=4).map(items) | st.binary())
schemathesis.openapi.media_type("application/wasm", st.sampled_from([COMPONENT, COMPONENT[:500]]) | st.binary())


def understood(body, choice):
    """A body in which some of the texts are such that they are understood."""
    if "action" in body and choice % 2:
        body = {"action": body["action"], "runIds": EXISTING["run"]}
    keep = {name: value for name, value in body.items() if name not in UNDERSTOOD or (choice + len(name)) % 3 == 0}
    return {**body, **{name: UNDERSTOOD[name] for name in body if name not in keep}}


def follow_link(case):
    """Gives a request for an uploaded payload the link that it needs."""
    place = "/api/v2/packets/fuzz.json" if case.method == "PUT" else "/api/v1/packets/fuzz.json"
    link = urlsplit(ask(case.method, place)["presignedUrl"])
    *_, environment, packet = link.path.split("/")
    case.path_parameters = {"environment": environment, "object": packet}
    case.query = {name: values[0] for name, values in parse_qs(link.query).items()}


@schemathesis.hook
def before_call(context, case, kwargs):
    key = ADMIN_KEY if case.path.startswith("/admin/") else KEY
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key}"}
    choice = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    if choice % 4:
        if case.path.startswith("/api/v1/objects/") and case.method in ("GET", "PUT"):
            follow_link(case)
        for name in [name for name in case.path_parameters or {} if name in EXISTING]:
            known = EXISTING[name]
            if name == "environment" and "/objects/" in case.path:
                continue
            # A stream of a run that has not ended would be waited for.
            case.path_parameters[name] = known[0] if "/streams/" in case.path else known[choice // 4 % len(known)]
        for end, (name, make) in FRESH.items():
            if case.path.endswith(end) and (name != "run" or case.method == "POST"):
                case.path_parameters[name] = make()
        if isinstance(case.body, dict):
            case.body = understood(case.body, choice)
    # Waiting is the job of other tests.
    if case.query and "wait" in case.query and str(case.query["wait"])[-1:] in "wdhrms":
        case.query["wait"] = "0s"
