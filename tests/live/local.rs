//! Goal: root, and the user that the server runs as, get in by the socket in the data folder without any token.

use std::{
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
};

use narrows_api::{paths, server::WhoAmI};

use crate::house::House;

/// One request by hand; status line and body.
pub(crate) fn get(house: &House, path: &str) -> (String, String) {
    let mut socket = UnixStream::connect(house.data().admin_socket()).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: narrows\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_in_the_data_folder_admits_the_administrator() {
    let mut east = House::build("east").await;
    let mode = std::fs::metadata(east.data().admin_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for round in 0..2 {
        let (status, body) = get(&east, paths::WHOAMI);
        assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
        let who: WhoAmI = serde_json::from_str(&body).unwrap();
        assert_eq!((who.kind.as_str(), who.server_name.as_str()), ("admin", "east"), "{who:?}");
        let (status, _) = get(&east, paths::PROBLEMS);
        assert_eq!(status, "HTTP/1.1 200 OK");
        if round == 0 {
            // A socket that a dead server left does not stand in the way of the next one.
            east.stop().await;
            drop(std::os::unix::net::UnixListener::bind(east.data().admin_socket()));
            assert!(east.data().admin_socket().exists(), "it is left behind");
            east.start().await;
        }
    }
    east.stop().await;
}
