//! The product in one line: an old payload can be run again on new code.

use dacapo_tests::guests;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn a_replay_runs_on_the_newest_deployment() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let first = app.call("echo", json!({ "n": 1 })).await;
    assert_eq!(first["output"]["version"], 1, "{first}");
    app.deploy(guests::ECHO_V2).await;

    let replay = app.replay(first["id"].as_str().unwrap()).await;
    let replay = app.finished(&replay).await;

    assert_eq!(replay["output"]["version"], 2, "{replay}");
    assert_eq!(replay["output"]["payload"], json!({ "n": 1 }));
    assert_eq!(replay["isReplay"], true);
    assert_eq!(replay["replayedFrom"], first["id"]);
    let source = app.run(first["id"].as_str().unwrap()).await;
    assert_eq!(source["replays"], json!([replay["id"]]));
}
