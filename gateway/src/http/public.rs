//! What the public port answers in plain HTTP: the page, the client, and what would be right.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::get;

use super::assets::{ASSETS, HTML};

/// What a browser may do with any answer: show it alone, and take it for nothing but what it is.
const GUARDS: [(header::HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// What the page may load: its own files, and connections to nodes, also to one that its visitor has
/// chosen.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is no page loads nothing.
const OTHER_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The routes of the public port but for WebSockets, which begin before it.
pub(crate) fn router() -> Router {
    let router = ASSETS
        .into_iter()
        .fold(Router::new(), |router, (path, asset)| {
            router.route(
                path,
                get(move |headers: HeaderMap| async move { asset.answer(&headers) }),
            )
        });
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(guard))
}

async fn nothing_here() -> impl IntoResponse {
    let words = "there is nothing here; try /ws, /plain/ROOM or /\n";
    (StatusCode::NOT_FOUND, words)
}

async fn method_not_allowed() -> impl IntoResponse {
    let words = "the method is not allowed here; use GET, HEAD\n";
    let allow = [(header::ALLOW, "GET, HEAD")];
    (StatusCode::METHOD_NOT_ALLOWED, allow, words)
}

/// Refuses what HTTP does, and says to each answer what a browser may do with it.
async fn guard(request: Request, next: Next) -> Response<Body> {
    // RFC 9112, section 3.2: exactly one, but in the versions before it was there.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    let is_wanting = hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11);
    // One that wanted another protocol, and gets this, is not to go on in either.
    let is_last = request.headers().contains_key(header::UPGRADE);
    let mut response = if is_wanting {
        (StatusCode::BAD_REQUEST, "Host: one is needed\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let is_page = headers.get(header::CONTENT_TYPE) == Some(&HeaderValue::from_static(HTML));
    let policy = if is_page { PAGE_POLICY } else { OTHER_POLICY };
    let policy = HeaderValue::from_static(policy);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    if is_last || is_wanting {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
