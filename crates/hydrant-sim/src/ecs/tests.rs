use jiff::SignedDuration;

use super::*;

const SCRIPT: &str = r#"
    [[cluster]]
    name = "Web"
    steps = [
        { at = 0, running = 10, pending = 1, services = 3, instances = 2, fargate = 0.3 },
        { at = 5, running = 20 },
        { at = 8, status = "INACTIVE" },
        { at = 9, status = "MISSING" },
    ]
"#;

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn state() -> ClusterState {
    ClusterState::new(parse_script(SCRIPT).unwrap(), true, at(100))
}

fn ask(
    state: &mut ClusterState,
    second: i64,
    operation: &str,
    body: &Value,
) -> Result<Value, EcsError> {
    let body = body.to_string();
    state.answer(
        at(second),
        operation,
        true,
        body.as_bytes(),
        &CallFaults::default(),
    )
}

#[test]
fn a_scripted_cluster_follows_the_time() {
    let mut state = state();
    let web = json!({ "clusters": ["Web"], "include": ["STATISTICS"] });
    let mut described = |second| ask(&mut state, second, "DescribeClusters", &web).unwrap();
    let cluster = &described(100)["clusters"][0];
    assert_eq!(cluster["runningTasksCount"], 10);
    let statistics = cluster["statistics"].as_array().unwrap();
    assert!(statistics.contains(&json!({ "name": "runningFargateTasksCount", "value": "3" })));
    assert!(statistics.contains(&json!({ "name": "runningEC2TasksCount", "value": "7" })));
    assert_eq!(described(105)["clusters"][0]["runningTasksCount"], 20);
    let inactive = described(108);
    assert_eq!(inactive["clusters"][0]["status"], "INACTIVE");
    assert_eq!(inactive["clusters"][0]["runningTasksCount"], 0);
    let arn = "arn:aws:ecs:us-east-1:123456789012:cluster/Web";
    let failures = json!([{ "arn": arn, "reason": "MISSING" }]);
    assert_eq!(
        described(109),
        json!({ "clusters": [], "failures": failures })
    );
}

#[test]
fn names_and_arns_are_the_same_and_other_accounts_are_missing() {
    let mut state = state();
    let mine = "arn:aws:ecs:eu-west-1:123456789012:cluster/Web";
    let other = "arn:aws:ecs:us-east-1:999999999999:cluster/Web";
    let body = json!({ "clusters": [mine, "Web", other] });
    let answer = ask(&mut state, 100, "DescribeClusters", &body).unwrap();
    assert_eq!(answer["clusters"][0], answer["clusters"][1]);
    assert_eq!(
        answer["failures"],
        json!([{ "arn": other, "reason": "MISSING" }])
    );
    for wrong in [
        "a b",
        "arn:aws:s3:::Web",
        "arn:aws:ecs:r:123456789012:task/Web",
        "",
    ] {
        let body = json!({ "clusters": [wrong] });
        let error = ask(&mut state, 100, "DescribeClusters", &body).expect_err(wrong);
        assert_eq!(error.name(), "InvalidParameterException", "{wrong}");
    }
}

#[test]
fn services_of_a_cluster_that_is_not_active_are_not_found() {
    let mut state = state();
    let list = json!({ "cluster": "Web" });
    let services = json!({ "cluster": "Web", "services": ["service-0000", "service-0003"] });
    let answer = ask(&mut state, 100, "DescribeServices", &services).unwrap();
    assert_eq!(answer["services"][0]["runningCount"], 3);
    assert_eq!(answer["services"][0]["launchType"], "FARGATE");
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    for second in [108, 109] {
        for (operation, body) in [("ListServices", &list), ("DescribeServices", &services)] {
            let error = ask(&mut state, second, operation, body).unwrap_err();
            assert_eq!(error, EcsError::ClusterNotFound);
        }
    }
}

#[test]
fn active_clusters_are_listed_page_by_page_and_their_tags_told_on_request() {
    let scripts = parse_script(
        r#"
        [[cluster]]
        name = "Web"
        tags = { Stage = "prod", Team = "a" }
        steps = [{ at = 0, status = "MISSING" }, { at = 5, status = "ACTIVE" }]
        [[cluster]]
        name = "Batch"
        steps = [{ at = 0 }, { at = 8, status = "INACTIVE" }]
    "#,
    );
    let mut state = ClusterState::new(scripts.unwrap(), true, at(100));
    let arn = |name: &str| format!("arn:aws:ecs:us-east-1:123456789012:cluster/{name}");
    let mut list = |second, body| ask(&mut state, second, "ListClusters", &body).unwrap();
    assert_eq!(
        list(100, json!({})),
        json!({ "clusterArns": [arn("Batch")] })
    );
    let first = list(105, json!({ "maxResults": 1 }));
    assert_eq!(first["clusterArns"], json!([arn("Batch")]));
    let rest = list(
        105,
        json!({ "maxResults": 1, "nextToken": first["nextToken"] }),
    );
    assert_eq!(rest, json!({ "clusterArns": [arn("Web")] }));
    assert_eq!(list(108, json!({})), json!({ "clusterArns": [arn("Web")] }));
    let mut tags = |include: Value| {
        let body = json!({ "clusters": ["Web"], "include": include });
        let answer = ask(&mut state, 108, "DescribeClusters", &body).unwrap();
        answer["clusters"][0]["tags"].clone()
    };
    assert_eq!(tags(json!([])), json!([]));
    let all = json!([{ "key": "Stage", "value": "prod" }, { "key": "Team", "value": "a" }]);
    assert_eq!(tags(json!(["TAGS"])), all);
}

#[test]
fn buckets_throttle_reads_and_list_and_describe_share_theirs() {
    let mut state = state();
    let (body, services) = (json!({}), json!({ "cluster": "Web" }));
    let mut passed = |second, operation: &str, body: &Value| {
        let is_throttled =
            |_: &i32| ask(&mut state, second, operation, body) == Err(EcsError::Throttled);
        120 - (0..120).filter(is_throttled).count()
    };
    assert_eq!(passed(100, "DescribeClusters", &body), 50);
    assert_eq!(passed(101, "ListClusters", &body), 20);
    assert_eq!(passed(100, "ListServices", &services), 100);
    assert_eq!(passed(100, "DescribeServices", &services), 0);
    assert_eq!(passed(102, "DescribeServices", &services), 40);
    assert_eq!(passed(102, "CreateCluster", &body), 120);
}

#[test]
fn limits_are_awss() {
    let mut state = state();
    let mut name = |operation: &str, body: Value| match ask(&mut state, 100, operation, &body) {
        Ok(_) => "",
        Err(error) => error.name(),
    };
    let invalid = "InvalidParameterException";
    assert_eq!(
        name("DescribeClusters", json!({ "clusters": vec!["a"; 100] })),
        ""
    );
    assert_eq!(
        name("DescribeClusters", json!({ "clusters": vec!["a"; 101] })),
        invalid
    );
    assert_eq!(
        name("DescribeClusters", json!({ "include": ["ALL"] })),
        invalid
    );
    let services = |count| json!({ "cluster": "Web", "services": vec!["a"; count] });
    assert_eq!(name("DescribeServices", services(10)), "");
    assert_eq!(name("DescribeServices", services(11)), invalid);
    assert_eq!(name("DescribeServices", services(0)), invalid);
    let page = |most| json!({ "cluster": "Web", "maxResults": most });
    assert_eq!(name("ListServices", page(100)), "");
    assert_eq!(name("ListServices", page(101)), invalid);
    assert_eq!(name("ListServices", page(0)), invalid);
    assert_eq!(
        name(
            "ListServices",
            json!({ "cluster": "Web", "nextToken": "?" })
        ),
        invalid
    );
    assert_eq!(name("ListClusters", json!({ "maxResults": 101 })), invalid);
    assert_eq!(name("ListClusters", json!({ "nextToken": "?" })), invalid);
    assert_eq!(
        name("DescribeClusters", json!({ "clusters": 7 })),
        "SerializationException"
    );
    assert_eq!(name("RunTask", json!({})), "UnknownOperationException");
}
