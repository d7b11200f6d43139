"""A backend in Python that shows its customers their usage: it creates the token, and its page has `<meterport-usage>`.

Run it: python app.py. Set METERPORT_URL and METERPORT_API_KEY to use a server that is not local.
"""

import os
from datetime import UTC, datetime, timedelta

import uvicorn
from openmeter import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

METERPORT = os.environ.get("METERPORT_URL", "http://127.0.0.1:8888")
PORT = int(os.environ.get("PORT", "8000"))
# Allow scripts from this backend and from Meterport, requests to both, and nothing inline.
POLICY = f"default-src 'none'; script-src 'self' {METERPORT}; connect-src 'self' {METERPORT}; style-src 'self'"

PAGE = f"""<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Your usage</title>
    <link rel="stylesheet" href="/site.css">
    <script src="{METERPORT}/portal/meterport-usage.js" defer></script>
    <script src="/site.js" defer></script>
  </head>
  <body>
    <main>
      <h1>Your usage</h1>
      <meterport-usage meters="tokens" units="tokens:tokens" group-by="model"></meterport-usage>
    </main>
  </body>
</html>
"""

SCRIPT = """
const usage = document.querySelector('meterport-usage')

async function renew() {
  const response = await fetch('/usage-token', { method: 'POST' })
  if (response.ok) usage.token = (await response.json()).token
}

usage.addEventListener('meterport-expired', renew)
renew()
"""

STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif }
body { margin: 0; background: light-dark(#f6f7f9, #0e1116) }
main { max-width: 960px; margin: 32px auto; padding: 0 16px }
meterport-usage { --meterport-radius: 8px }
"""


async def page(request: Request) -> Response:
    """Return the customer's page."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


async def script(request: Request) -> Response:
    return Response(SCRIPT, media_type="text/javascript")


async def style(request: Request) -> Response:
    return Response(STYLE, media_type="text/css")


def usage_token(request: Request) -> Response:
    """Create a token for the signed-in customer; the API key stays on this server."""
    with Client(endpoint=METERPORT, token=os.environ.get("METERPORT_API_KEY", "")) as client:
        created = client.portal.portal_tokens.create(
            {
                "subject": signed_in(request),
                "allowedMeterSlugs": ["tokens"],
                "expiresAt": datetime.now(UTC) + timedelta(hours=1),
            }
        )
    return JSONResponse({"token": created.token}, headers={"Cache-Control": "no-store"})


def signed_in(request: Request) -> str:
    """Return the customer. A real application takes it from its session and never from the request itself."""
    return "acme"


app = Starlette(
    routes=[
        Route("/", page),
        Route("/site.js", script),
        Route("/site.css", style),
        Route("/usage-token", usage_token, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT)
