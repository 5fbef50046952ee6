//! Names of sysctls.

/// A name with dots between its parts, as the runtime gets it. Where a slash comes first, slashes
/// separate, and a dot is part of a name: the other one stands for it then (`NormalizeName` of
/// `k8s.io/component-helpers`). A runtime reads names in the same way, and pods share no code
/// with it: they know CRI alone.
pub fn dotted(name: &str) -> String {
    let is_dotted = name.find(['.', '/']).is_none_or(|at| name[at..].starts_with('.'));
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    if is_dotted { name.to_owned() } else { name.chars().map(swap).collect() }
}

#[cfg(test)]
mod tests {
    use crate::testing;

    #[test]
    fn a_sysctl_of_an_interface_with_a_dot_in_its_name_keeps_it() {
        let given = |name: &str| {
            let spec = format!(
                "  securityContext: {{sysctls: [{{name: {name}, value: '1'}}]}}\n  containers: [{{name: a, image: i}}]\n"
            );
            testing::pod(&spec).spec.security.sysctls[0].0.clone()
        };
        let vlan = "net.ipv4.conf.eth0/100.forwarding";
        assert_eq!(given("net/ipv4/conf/eth0.100/forwarding"), vlan);
        assert_eq!(given(vlan), vlan);
        assert_eq!(given("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
    }
}
