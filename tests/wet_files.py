"""WET files as Common Crawl writes them: a gzip member a record, made in the test."""

import gzip


def member(
    text: str, url: str = "http://example.org/", languages: str | None = None, kind: str = "conversion"
) -> bytes:
    body = text.encode("utf-8")
    headers = {
        "WARC-Type": kind,
        "WARC-Target-URI": url,
        "WARC-Date": "2017-06-22T12:00:00Z",
        "WARC-Record-ID": "<urn:uuid:12345678-1234-1234-1234-123456789012>",
        "Content-Type": "text/plain",
        "Content-Length": str(len(body)),
    }
    if languages:
        headers["WARC-Identified-Content-Language"] = languages
    head = "\r\n".join(["WARC/1.0", *(f"{name}: {value}" for name, value in headers.items())])
    return gzip.compress(head.encode() + b"\r\n\r\n" + body + b"\r\n\r\n", mtime=0)
