//! Where Redis is: one, several, behind sentinels, or a cluster.

use super::*;

#[test]
fn an_address_of_redis_is_checked_and_its_password_kept_out_of_messages() {
    let message = refusal(&[("FANFARE_REDIS__URL", "http://u:secret@h")]);
    assert!(!message.contains("secret"), "{message}");
    assert!(
        message.starts_with("redis.url = \"http://***\" (from FANFARE_REDIS__URL): the scheme")
    );
}

#[test]
fn several_addresses_are_a_list_or_have_commas_in_between() {
    let in_file = file("[redis]\nurl = ['redis://:secret@a', 'redis://b/1']").expect("two");
    let from_env = env(&[("FANFARE_REDIS__URL", "redis://:secret@a, redis://b/1")]).expect("two");
    assert_eq!(in_file.redis.url, from_env.redis.url);
    let printed = in_file.effective_toml();
    assert!(
        printed.contains("url = [\"redis://:***@a\",\"redis://b/1\"]"),
        "{printed}"
    );
    let one = file("[redis]\nurl = 'redis://a'").expect("one");
    assert!(one.effective_toml().contains("url = \"redis://a\""));

    // The stronger source replaces the list.
    let config = file_and(
        "[redis]\nurl = ['redis://a', 'redis://b']",
        &[("FANFARE_REDIS__URL", "redis://c")],
        &[],
    );
    let urls = config.expect("good sources").redis.url;
    assert_eq!(
        urls.iter().map(RedisUrl::expose).collect::<Vec<_>>(),
        ["redis://c"]
    );

    let message = refusal(&[("FANFARE_REDIS__URL", "redis://:secret@a,http://:secret@b")]);
    assert!(!message.contains("secret"), "{message}");
    let message = file_refusal("[redis]\nurl = ['redis://a:1', 'rediss://:secret@A:1/0']");
    assert_eq!(
        message,
        "redis.url = \"redis://a:1,rediss://:***@A:1/0\": a:1/0 is named twice; name each server once"
    );
    assert!(file_refusal("[redis]\nurl = [1]").contains("not a list of texts"));
}

#[test]
fn sentinels_need_the_name_of_a_master() {
    let message = refusal(&[("FANFARE_REDIS__SENTINELS", "redis://:secret@s:26379")]);
    assert_eq!(
        message,
        "redis.sentinels = \"redis://:***@s:26379\": given without redis.url; \
         give the name of the master there: redis://mymaster"
    );
    let message = refusal(&[
        ("FANFARE_REDIS__URL", "redis://mymaster"),
        (
            "FANFARE_REDIS__SENTINELS",
            "redis://a:26379,redis://:secret@b",
        ),
    ]);
    assert!(
        message.starts_with("redis.sentinels = \"redis://:***@b\": the port is missing; sentinels"),
        "{message}"
    );
}

#[test]
fn a_cluster_has_nodes_no_sentinels_and_one_database() {
    let cluster = ("FANFARE_REDIS__CLUSTER", "true");
    let url = |url| ("FANFARE_REDIS__URL", url);
    let config = env(&[cluster, url("redis://a,redis://b:7000/0")]).expect("a cluster");
    assert!(config.redis.cluster);
    assert!(file("[redis]\nurl = 'redis://a'\ncluster = true").is_ok());
    for (pairs, problem) in [
        (vec![cluster], "given without redis.url; name two"),
        (
            vec![
                cluster,
                url("redis://a"),
                ("FANFARE_REDIS__SENTINELS", "redis://s:26379"),
            ],
            "given together with redis.sentinels; a cluster replaces",
        ),
        (
            vec![cluster, url("redis://a,redis://b/1")],
            "a cluster has no database but 0, and no socket; leave the number",
        ),
        (
            vec![cluster, url("unix:///s")],
            "a cluster has no database but 0, and no socket; leave the number",
        ),
    ] {
        let message = refusal(&pairs);
        let expected = format!("redis.cluster = true: {problem}");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn certificates_need_an_address_that_is_encrypted() {
    let file = ("FANFARE_REDIS__CA_FILE", "/ca.pem");
    for pairs in [vec![file], vec![file, ("FANFARE_REDIS__URL", "redis://a")]] {
        let message = refusal(&pairs);
        assert_eq!(
            message,
            "redis.ca_file = \"/ca.pem\": no address in redis.url is encrypted, and so nothing is \
             checked; write rediss:// there, or leave this out"
        );
    }
    assert!(env(&[file, ("FANFARE_REDIS__URL", "redis://a,rediss://b")]).is_ok());
}
