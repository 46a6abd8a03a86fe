"""The addresses of the server: one table, to which each module adds its own.

A module has functions `name(request: Request) -> Response` that take the `Showing` from `showing_of(request)`, and a
list `ROUTES`. Errors of gazetools become `{"error": {"message", "hint"}}` with status 400, in `server.py`. A POST has
passed the token's check in `guard.py` when it arrives.
"""

from starlette.routing import Route

from gazetools.viewer.routes import box_routes, listing_routes, map_routes, page_routes, video_routes

ROUTES: list[Route] = [
    *page_routes.ROUTES,
    *listing_routes.ROUTES,
    *video_routes.ROUTES,
    *map_routes.ROUTES,
    *box_routes.ROUTES,
]
