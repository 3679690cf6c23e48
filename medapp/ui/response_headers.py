"""Response headers: what browsers are told with every answer about scripts, frames and other sites."""

from urllib.parse import urlsplit

from medapp.ui.viewer.niivue_asset import CDN


def list_headers(embedded: bool) -> dict[str, str]:
    """Return the headers of every answer; `embedded` for a Space, whose page Hugging Face shows in a frame.

    Gradio's page consists of inline scripts and compiles the viewer's functions, so that 'unsafe-inline' and
    'unsafe-eval' are needed. What the policy prevents is scripts, frames and connections elsewhere.
    """
    viewer_sources = " ".join(dict.fromkeys("{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in CDN))
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval' blob: {viewer_sources}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self' https://huggingface.co https://*.hf.space" if embedded else "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{kind} {sources}" for kind, sources in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        **({} if embedded else {"X-Frame-Options": "SAMEORIGIN", "Cross-Origin-Resource-Policy": "same-origin"}),
    }
