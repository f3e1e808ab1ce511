//! The main stories with a server that has no privileges. Where the tests themselves have none, all stories are such.

use crate::harness::Server;
use crate::{buildpacks, clients, crash, faults, push, router, shell, trac};

#[test]
fn for_an_ordinary_user_a_push_becomes_a_page() {
    if let Some(server) = Server::as_ordinary_user() {
        push::hello_becomes_a_page(&server);
    }
}

#[test]
fn for_an_ordinary_user_an_app_brings_its_buildpacks() {
    if let Some(server) = Server::as_ordinary_user() {
        buildpacks::apps_own_buildpacks(&server);
    }
}

#[test]
fn for_an_ordinary_user_data_survives() {
    if let Some(server) = Server::as_ordinary_user() {
        push::data_survives(&server);
    }
}

#[test]
fn for_an_ordinary_user_ssh_is_inside() {
    if let Some(server) = Server::as_ordinary_user() {
        shell::inside(&server);
    }
}

#[test]
fn for_an_ordinary_user_a_terminal_works() {
    if let Some(server) = Server::as_ordinary_user() {
        shell::terminal(&server);
    }
}

#[test]
fn for_an_ordinary_user_the_host_is_hidden() {
    if let Some(server) = Server::as_ordinary_user() {
        shell::the_host_is_hidden(&server);
    }
}

#[test]
fn for_an_ordinary_user_no_request_is_lost() {
    if let Some(server) = Server::as_ordinary_user() {
        router::no_request_is_lost(&server);
    }
}

#[test]
fn for_an_ordinary_user_instances_outlive_the_daemon() {
    if let Some(mut server) = Server::as_ordinary_user() {
        crash::instances_outlive_the_daemon(&mut server, Server::crash);
    }
}

#[test]
fn for_an_ordinary_user_the_daemon_is_killed_under_load() {
    if let Some(mut server) = Server::as_ordinary_user() {
        faults::the_daemon_is_killed_under_load(&mut server);
    }
}

#[test]
fn for_an_ordinary_user_a_shim_is_killed() {
    if let Some(server) = Server::as_ordinary_user() {
        faults::a_shim_is_killed(&server);
    }
}

#[test]
fn for_an_ordinary_user_the_machine_is_started_anew() {
    if let Some(mut server) = Server::as_ordinary_user() {
        faults::the_machine_is_started_anew(&mut server);
    }
}

#[test]
fn for_an_ordinary_user_a_shim_is_stopped() {
    if let Some(mut server) = Server::as_ordinary_user() {
        faults::a_shim_is_stopped(&mut server);
    }
}

#[test]
fn for_an_ordinary_user_paramiko_is_at_home() {
    if let Some(server) = Server::as_ordinary_user() {
        clients::paramiko(&server);
    }
}

#[test]
fn for_an_ordinary_user_trac_works() {
    if let Some(server) = Server::as_ordinary_user() {
        trac::the_story(&server);
    }
}
