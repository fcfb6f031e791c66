//! The page as the server sends it. What it does is tried by `tests/page`, in a browser.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};

use crate::harness::{Answer, TestApp};

async fn get(app: &TestApp, path: &str) -> Answer {
    app.send_as_is(Request::get(path).body(Body::empty()).expect("a request")).await
}

/// The files that the page names.
fn assets(page: &str) -> Vec<String> {
    let names = page.split(['"', '\'']).filter(|text| text.starts_with("/dashboard/assets/"));
    names.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_page_is_in_the_binary() {
    let app = TestApp::start().await;
    for path in ["/", "/dashboard"] {
        let answer = get(&app, path).await;
        assert_eq!(
            (answer.status, &answer.headers[header::LOCATION]),
            (StatusCode::TEMPORARY_REDIRECT, &"/dashboard/".parse().unwrap())
        );
    }
    let page = get(&app, "/dashboard/").await;
    assert_eq!(page.headers[header::CONTENT_TYPE], "text/html");
    let text = page.json.as_str().expect("text").to_owned();
    for place in ["/dashboard/dev/runs", "/dashboard/preview%2Ffeature/runs/run_1"] {
        assert_eq!(get(&app, place).await.json.as_str(), Some(&*text), "{place} is a place in it");
    }
    let assets = assets(&text);
    assert!(assets.len() >= 2, "a script and a style: {text}");
    for path in assets {
        let file = get(&app, &path).await;
        assert_eq!(file.status, StatusCode::OK, "{path}");
        assert_eq!(file.headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    }
    assert_eq!(get(&app, "/dashboard/assets/gone.js").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_runs_no_script_but_its_own() {
    let app = TestApp::start().await;
    let page = get(&app, "/dashboard/").await;
    let policy = page.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[tokio::test]
async fn what_a_browser_has_is_not_sent_again() {
    let app = TestApp::start().await;
    let tag = get(&app, "/dashboard/").await.headers[header::ETAG].clone();
    let request =
        Request::get("/dashboard/").header(header::IF_NONE_MATCH, tag).body(Body::empty()).expect("a request");
    let answer = app.send_as_is(request).await;
    assert_eq!((answer.status, answer.json.as_str()), (StatusCode::NOT_MODIFIED, Some("")));
    let request = Request::get("/dashboard/").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty());
    let answer = app.send_as_is(request.expect("a request")).await;
    assert_eq!(answer.headers[header::CONTENT_ENCODING], "gzip");
}
