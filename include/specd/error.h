/*
 * error.h - every way a request or a start-up can fail, in one table.
 *
 * Functions return 0 or a negative SPECD_E*. The HTTP status and OpenAI's error type come from the
 * same row, so that a failure deep in the engine reaches the client unchanged. Where a person will
 * read the reason, a function takes `char *err, size_t errlen` last and writes one line into it.
 */
#ifndef SPECD_ERROR_H
#define SPECD_ERROR_H

/* name, code, HTTP status, OpenAI type, OpenAI code, default text */
#define SPECD_ERROR_MAP(X)                                                                      \
    X(EINVAL, 1, 400, "invalid_request_error", "invalid_value", "invalid value")                \
    X(EJSON, 2, 400, "invalid_request_error", "invalid_json", "the body is not valid JSON")     \
    X(ECONTEXT, 3, 400, "invalid_request_error", "context_length_exceeded",                     \
      "prompt is too long: this model's maximum context length is exceeded")                    \
    X(EAUTH, 4, 401, "authentication_error", "invalid_api_key", "invalid API key")              \
    X(ENOTFOUND, 5, 404, "not_found_error", "not_found", "no such route")                       \
    X(EMETHOD, 6, 405, "invalid_request_error", "method_not_allowed", "method not allowed")     \
    X(ETOOBIG, 7, 413, "invalid_request_error", "body_too_large", "the body is too large")      \
    X(ETYPE, 8, 415, "invalid_request_error", "unsupported_media_type",                         \
      "the body must be application/json")                                                      \
    X(EBUSY, 9, 429, "rate_limit_error", "queue_full", "the queue is full")                     \
    X(EDEVICE, 10, 500, "server_error", "device_error", "the device failed")                    \
    X(EINTERNAL, 11, 500, "server_error", "internal_error", "internal error")                   \
    X(ENUMERIC, 12, 500, "server_error", "numeric_error", "the model produced NaN or infinity") \
    X(ELOADING, 13, 503, "unavailable_error", "loading", "Loading model")                       \
    X(EDRAINING, 14, 503, "unavailable_error", "draining", "the server is shutting down")       \
    X(ETIMEOUT, 15, 504, "timeout_error", "timeout", "the request took too long")               \
    X(ECANCELED, 16, 499, "invalid_request_error", "canceled", "the client went away")          \
    X(EFILE, 17, 500, "server_error", "bad_file", "unusable file")                              \
    X(ENOMEM, 18, 503, "unavailable_error", "out_of_memory",                                    \
      "there is not enough memory for this request now: try again later")                       \
    X(ETARGET, 19, 414, "invalid_request_error", "uri_too_long", "the query is too long")       \
    X(EHOST, 20, 421, "invalid_request_error", "unknown_host",                                  \
      "this server answers only to names of its own machine: see --allowed-host")               \
    X(ENOMODEL, 21, 404, "invalid_request_error", "model_not_found",                            \
      "this server has no such model: see /v1/models")                                          \
    X(ECODING, 22, 415, "invalid_request_error", "unsupported_content_encoding",                \
      "the body must be sent as it is, without a Content-Encoding")                             \
    X(EFILES, 23, 503, "unavailable_error", "too_many_open_files",                              \
      "the server's limit on open files is reached (ulimit -n): try again later")

enum specd_error {
    SPECD_OK = 0,
#define X(name, code, status, type, ocode, text) SPECD_##name = -(code),
    SPECD_ERROR_MAP(X)
#undef X
};

/* All three accept any int; an unknown code reads as EINTERNAL. Thread-safe, never NULL. */
int specd_error_status(int error);
const char *specd_error_type(int error);
const char *specd_error_code(int error);
const char *specd_error_text(int error);

#endif
