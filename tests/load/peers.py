"""The proxies that are compared, each as lean as it gets: one worker, no access log, upstream connections kept alive.

Every peer listens twice: H1 carries HTTP/1.1 to HTTP/1.1 instances, H2 carries HTTP/2 to HTTP/2 instances. A request with
`x-mse-tag: gray` goes to the gray instance, any other to base. A builder writes its configuration and returns the command.
"""
import json
from pathlib import Path

from machine import find, split

H1, H2 = "127.0.0.1:8000", "127.0.0.1:8001"
# Not the proxies' own address: a mesh proxy refuses to call itself.
BASE, GRAY, BASE_H2, GRAY_H2 = (f"127.0.0.2:{port}" for port in (9001, 9002, 9003, 9004))
BODY = 512


def upstream(scratch):
    """nginx as the instances: 200 with 512 bytes and the name of the group."""
    servers = "".join(f"""
  server {{ listen {address}{proto} backlog=4096; add_header x-group {group};
    location / {{ default_type text/plain; return 200 "{'x' * BODY}"; }} }}""" for address, group, proto in (
        (BASE, "base", ""), (GRAY, "gray", ""), (BASE_H2, "base", " http2"), (GRAY_H2, "gray", " http2")))
    return nginx_command(scratch, "upstream", f"keepalive_timeout 300s; http2_max_concurrent_streams 1024; {servers}")


def nginx(scratch):
    # HTTP/2 to an upstream is only in grpc_pass, one connection a stream: a weak reference there.
    return nginx_command(scratch, "nginx", f"""
  map $http_x_mse_tag $h1 {{ default base; gray gray; }}
  map $http_x_mse_tag $h2 {{ default base_h2; gray gray_h2; }}
  http2_max_concurrent_streams 256; proxy_buffers 16 32k; proxy_max_temp_file_size 0;
  upstream base {{ server {BASE}; keepalive 512; keepalive_requests 1000000000; }}
  upstream gray {{ server {GRAY}; keepalive 512; keepalive_requests 1000000000; }}
  upstream base_h2 {{ server {BASE_H2}; keepalive 512; keepalive_requests 1000000000; }}
  upstream gray_h2 {{ server {GRAY_H2}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen {H1} backlog=4096;
    location / {{ proxy_pass http://$h1; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }} }}
  server {{ listen {H2} http2 backlog=4096; location / {{ grpc_pass grpc://$h2; }} }}""")


def nginx_command(scratch, name, http):
    conf = Path(scratch) / f"{name}.conf"
    conf.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {scratch}/{name}.pid; error_log {scratch}/{name}.log error;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; {http} }}
""")
    return [find("nginx"), "-p", scratch, "-c", conf]


def haproxy(scratch):
    def pair(name, bind, base, gray, proto):
        return f"""
frontend {name}
  bind {bind}{proto}
  use_backend {name}_gray if {{ req.hdr(x-mse-tag) -m str gray }}
  default_backend {name}_base
backend {name}_base
  http-reuse always
  server s1 {base}{proto}
backend {name}_gray
  http-reuse always
  server s1 {gray}{proto}
"""
    conf = Path(scratch) / "haproxy.cfg"
    conf.write_text(f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
{pair("h1", H1, BASE, GRAY, "")}{pair("h2", H2, BASE_H2, GRAY_H2, " proto h2")}""")
    return [find("haproxy"), "-db", "-f", conf]


def envoy(scratch):
    extension = "type.googleapis.com/envoy.extensions."

    def socket_address(address):
        host, port = split(address)
        return {"socket_address": {"address": host, "port_value": port}}

    def cluster(name, address, h2):
        options = {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": extension + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}}
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", **(options if h2 else {}), "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(address)}}]}]}}

    def listener(name, address, base, gray):
        routes = [{"match": {"prefix": "/", "headers": [{"name": "x-mse-tag", "string_match": {"exact": "gray"}}]},
                   "route": {"cluster": gray}}, {"match": {"prefix": "/"}, "route": {"cluster": base}}]
        manager = {"@type": extension + "filters.network.http_connection_manager.v3.HttpConnectionManager",
                   "stat_prefix": name, "generate_request_id": False,
                   "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
                   "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                       "@type": extension + "filters.http.router.v3.Router"}}]}
        return {"name": name, "address": socket_address(address), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}

    conf = Path(scratch) / "envoy.json"
    conf.write_text(json.dumps({"static_resources": {
        "listeners": [listener("h1", H1, "base", "gray"), listener("h2", H2, "base_h2", "gray_h2")],
        "clusters": [cluster("base", BASE, False), cluster("gray", GRAY, False),
                     cluster("base_h2", BASE_H2, True), cluster("gray_h2", GRAY_H2, True)]}}))
    return [find("envoy"), "-c", conf, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]


def laneway(program):
    """Ours in static mode: outbound listeners, the tag chooses among the instances of the listener's service."""
    def command(scratch):
        conf = Path(scratch) / "laneway.yaml"
        conf.write_text(f"""
kind: Service
name: h1
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{BASE}', portName: http}}, {{address: '{GRAY}', portName: http, tag: gray}}]
---
kind: Service
name: h2
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{BASE_H2}', portName: http}}, {{address: '{GRAY_H2}', portName: http, tag: gray}}]
---
kind: Proxy
service: caller
listeners:
  - {{address: '{H1}', direction: outbound, defaultService: h1}}
  - {{address: '{H2}', direction: outbound, defaultService: h2}}
""")
        # A drain would only make the end of a measurement wait.
        return [program, "--resources", conf, "--drain-min", "0s", "--drain-max", "0s"]
    return command
