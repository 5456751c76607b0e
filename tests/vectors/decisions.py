"""Where this gateway answers otherwise than grpc-gateway, Envoy or the suites of others, and why.

`REASONS` are the sentences of docs/gateway.md, section "Differences"; `BY_CASE` says which of them holds for a case of the shared
vectors. A case that is not listed must be answered as it says.
"""

REASONS = {
    "edge": "A broken percent escape, bytes that are not UTF-8, a malformed `Grpc-Timeout`: 400 at the edge. Others pass them on, or answer 500.",
    "method": "A path that exists with another method is 405 with `Allow` (grpc-gateway: 501, Envoy: 404). HEAD is GET without its body, OPTIONS is 204 with `Allow`.",
    "verb": "A custom verb starts at a raw `:` only, and only where a route has registered it; `%3A` and every other colon are characters of the value.",
    "slash": "An empty segment is a segment: `/v1/things/` is another path than `/v1/things`, and is 404. Segments are split before decoding, so `%2F` is no boundary.",
    "decoding": "A path is decoded once, after routing; in variables of several segments the reserved characters of RFC 6570 stay encoded, unless a setting says otherwise.",
    "spelling": "A number or bool in a path or query has one spelling: decimal digits without plus sign or leading zero, `true` and `false`; base64 has no space in it. Two spellings of one resource would slip past rules in front.",
    "well_known": "Well-known types take their ProtoJSON form in a query (`duration=5s`, `mask=a,b`), not their inner fields, Go's durations, or JSON text.",
    "enum": "Enums are open, as in a JSON body: an unknown number passes in path and query too. Names are taken as written; a number in a JSON string is no name.",
    "disjoint": "Path, query and body fill disjoint fields. A parameter for what the path or body fills is 400; a body may repeat a value of the path, not contradict it.",
    "bodiless": "A body on a method that declares none is 400. Envoy merges it into the message, grpc-gateway drops it.",
    "unknown": "An unknown field or query parameter is 400 and named, unless a setting allows the parameter.",
    "once": "A field given twice is 400: in a query, as a duplicate key, under its two names, as two members of a oneof.",
    "json": "JSON is RFC 8259 and ProtoJSON and nothing else: no single quotes, bare names, control characters, strings for bools, single values for lists, nulls in lists and maps, snake_case in masks.",
    "media": "A body that says it is something else than `application/json` is 415.",
    "plus": "`+` in a query is a space, as HTML forms write it.",
    "map": "`labels[key]=value` fills a map; brackets on a list are 400, and lists of messages have no form in a query.",
    "override": "No method override and no form bodies: another site's form could send both.",
    "patch": "A PATCH without a mask changes what its body holds: the mask is filled with the paths of its keys, in proto names.",
    "grammar": "Templates follow http.proto: variables do not nest and are bound once, `body` names a top-level field. Two routes of one shape refuse the start.",
    "deep": "What is nested deeper than 100 messages is 400; a service could not read it.",
    "raw": "A google.api.HttpBody takes any bytes with their content type; it is never parsed as JSON.",
    "metadata": "Few headers reach a service: authorization, the trace, the request id, the client's address and agent, the idempotency key. They keep their plain names; nothing is prefixed `grpcgateway-`.",
    "trailers": "A unary call's trailing metadata comes as headers `Grpc-Trailer-*`, which every client can read.",
    "framing": "A stream that fails ends with an item that says so, in the body every error has; Envoy's looks complete.",
    "own_page": "`/healthz` is the gateway's own page and asks no service.",
    "size": "A body over the limit is 413 with OUT_OF_RANGE, which is what the services say of sizes.",
}  # fmt: skip
OUT_OF_SCOPE = "other_contract"
"""For cases about what this gateway does not have: a client's view of HTTP statuses, frames of a raw connection, messages of another suite."""

BY_CASE: dict[str, dict[str, str]] = {
    "path_templates": {"tmpl-201": "grammar", "tmpl-246": "grammar"},
    "path_match": {
        "match-077": "verb", "match-220": "override", "match-223": "override", "match-237": "decoding", "match-239": "decoding", "match-255": "grammar",
        "match-257": "grammar", "match-258": "verb", "match-259": "slash", "match-262": "decoding", "match-263": "grammar",
    },
    "body_mapping": {
        "body-07": "grammar", "body-09": "grammar", "body-52": "grammar", "body-13": "unknown", "body-27": "unknown", "body-16": "enum",
    },
    "response_mapping": {"resp-15": OUT_OF_SCOPE, "resp-21": OUT_OF_SCOPE, "resp-22": OUT_OF_SCOPE},
    "metadata_headers": {"hdr-10": "edge"} | {
        f"hdr-{number}": "metadata"
        for number in ["00", "02", "04", "14", "15", "18", "19", "20", "22", "23", "26", "28", "29", "30", "31", "32", "33", "34", "37"]
    },
    "error_mapping": {
        "cond-request_body_over_limit": "size", "health-UNKNOWN": "own_page", "health-SERVICE_UNKNOWN": "own_page", "health-SERVING": "own_page",
    } | {f"http-{status}": OUT_OF_SCOPE for status in ("400", "403", "502", "504", "other")},
    "rest_exchanges_envoy": dict.fromkeys(("envoy-01", "envoy-02", "envoy-03", "envoy-05", "envoy-07"), "disjoint"),
    "golden_probes": {
        "route/healthz_missing": "own_page", "route/healthz": "own_page", "route/deep_trailing_slash": "slash", "route/verb_encoded_colon": "verb",
        "decode_single/bad_utf8": "edge", "path_int32/plus": "spelling", "path_int32/octal": "spelling", "path_bool/zero": "spelling", "path_bool/title": "spelling",
        "query/bool_1": "spelling", "path_enum/unknown_number": "enum", "query/enum_unknown_number": "enum", "query/only_eq": "unknown",
        "query/duration_fields": "well_known", "query/field_mask_paths": "well_known", "query/w_value_path": "well_known", "query/path_var_override": "disjoint",
        "query/body_star_with_query": "disjoint", "query/body_field_query_into_body": "disjoint", "query/path_vs_query_collision": "disjoint",
        "body/path_wins_star": "disjoint", "body/none_with_body": "bodiless", "body/get_with_body": "bodiless", "body/delete_with_body": "bodiless",
        "body/ct_xml": "media", "body/ct_grpcweb": "media", "timeout/nine_digits": "edge", "timeout/empty": "edge",
    } | dict.fromkeys(
        ("route/method_mismatch", "route/method_mismatch_delete", "route/head_on_get_route", "route/cors_preflight", "route/lowercase_method", "error/head"), "method",
    ) | dict.fromkeys(
        ("override/post_get_form", "override/post_get_form_noheader", "override/post_get_json", "override/post_delete_form"), "override",
    ),
}  # fmt: skip


def differences(name: str) -> dict[str, str]:
    """The cases of a shared file, without its suffix, that are answered otherwise, each with the key of its reason."""
    return BY_CASE[name]
