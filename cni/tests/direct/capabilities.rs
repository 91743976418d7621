use netlab::Test; pub fn tests() -> Vec<Test> { Vec::new() }
