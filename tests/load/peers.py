"""The proxies that are compared, each as lean as it gets: one worker, no access log, upstream connections kept alive.

Every peer listens four times. ROUTE carries HTTP/1.1 to HTTP/1.1 instances and H2 carries HTTP/2 to HTTP/2 instances: a
request with `x-mse-tag: gray` goes to the gray instance, any other to base. PLAIN carries HTTP/1.1 to the base instance,
TCP carries bytes to it. A builder writes its configuration and returns the command.
"""
import json
import re
import subprocess
from pathlib import Path

from machine import find, split

ROUTE, H2, PLAIN, TCP = (f"127.0.0.1:{port}" for port in (8000, 8001, 8002, 8003))
# Not the proxies' own address: a mesh proxy refuses to call itself.
BASE, GRAY, BASE_H2, GRAY_H2, BASE_PLAIN, BASE_TCP = (f"127.0.0.2:{port}" for port in (9001, 9002, 9003, 9004, 9005, 9006))
BODY = 512
BIG_PATH, BIG_BODY = "/big", 1 << 20
SLOW_PATH, SLOW_S = "/slow", 2  # an answer takes this long, so that many are under way at once


def upstream(scratch):
    """nginx as the instances: 200 with 512 bytes and the name of the group, or the big or the slow answer."""
    (Path(scratch) / BIG_PATH[1:]).write_bytes(b"x" * BIG_BODY)
    servers = "".join(f"""
  server {{ listen {address}{proto} backlog=4096; add_header x-group {group};
    location {BIG_PATH} {{ root {scratch}; }}
    location {SLOW_PATH} {{ limit_rate {BODY // SLOW_S}; default_type text/plain; return 200 "{'x' * BODY}"; }}
    location / {{ default_type text/plain; return 200 "{'x' * BODY}"; }} }}""" for address, group, proto in (
        (BASE, "base", ""), (GRAY, "gray", ""), (BASE_PLAIN, "base", ""), (BASE_TCP, "base", ""),
        (BASE_H2, "base", " http2"), (GRAY_H2, "gray", " http2")))
    return nginx_command(scratch, "upstream", f"sendfile on; keepalive_timeout 300s; http2_max_concurrent_streams 1024; {servers}")


def nginx(scratch):
    # HTTP/2 to an upstream is only in grpc_pass, one connection a stream: a weak reference there.
    forward = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
    stream = nginx_stream()
    http = f"""
  map $http_x_mse_tag $h1 {{ default base; gray gray; }}
  map $http_x_mse_tag $h2 {{ default base_h2; gray gray_h2; }}
  http2_max_concurrent_streams 256; proxy_buffers 16 32k; proxy_max_temp_file_size 0;
  upstream base {{ server {BASE}; keepalive 512; keepalive_requests 1000000000; }}
  upstream gray {{ server {GRAY}; keepalive 512; keepalive_requests 1000000000; }}
  upstream base_plain {{ server {BASE_PLAIN}; keepalive 512; keepalive_requests 1000000000; }}
  upstream base_h2 {{ server {BASE_H2}; keepalive 512; keepalive_requests 1000000000; }}
  upstream gray_h2 {{ server {GRAY_H2}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen {ROUTE} backlog=4096; location / {{ proxy_pass http://$h1; {forward} }} }}
  server {{ listen {H2} http2 backlog=4096; location / {{ grpc_pass grpc://$h2; }} }}
  server {{ listen {PLAIN} backlog=4096; location / {{ proxy_pass http://base_plain; {forward} }} }}"""
    tcp = f"stream {{ server {{ listen {TCP} backlog=4096; proxy_pass {BASE_TCP}; }} }}"
    return nginx_command(scratch, "nginx", http, *(() if stream is None else (stream, tcp)))


def nginx_stream():
    """What makes nginx carry TCP: nothing where it is built in, else the line that loads the module; None: it cannot."""
    out = subprocess.run([find("nginx"), "-V"], capture_output=True, text=True, check=False).stderr
    if re.search(r"--with-stream(?=\s|$)", out):
        return ""
    folder = re.search(r"--modules-path=(\S+)", out)
    module = Path(folder[1] if folder else "/usr/lib/nginx/modules") / "ngx_stream_module.so"
    return f"load_module {module};" if module.exists() else None


def carries(name, listener):
    """Can this peer, as it is installed, do what the listener is for?"""
    return name != "nginx" or listener != TCP or nginx_stream() is not None


def nginx_command(scratch, name, http, load_module="", stream=""):
    conf = Path(scratch) / f"{name}.conf"
    conf.write_text(f"""
{load_module}
daemon off; master_process off; worker_processes 1; pid {scratch}/{name}.pid; error_log {scratch}/{name}.log error;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; {http} }}
{stream}
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
{pair("route", ROUTE, BASE, GRAY, "")}{pair("h2", H2, BASE_H2, GRAY_H2, " proto h2")}
frontend plain
  bind {PLAIN}
  default_backend plain_base
backend plain_base
  http-reuse always
  server s1 {BASE_PLAIN}
listen tcp
  mode tcp
  bind {TCP}
  server s1 {BASE_TCP}
""")
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

    def listener(name, address, filter_name, filter_type, filter_config):
        config = {"@type": extension + filter_type, "stat_prefix": name, **filter_config}
        return {"name": name, "address": socket_address(address), "filter_chains": [{"filters": [
            {"name": filter_name, "typed_config": config}]}]}

    def http(name, address, base, gray=None):
        tagged = {"prefix": "/", "headers": [{"name": "x-mse-tag", "string_match": {"exact": "gray"}}]}
        routes = [*([{"match": tagged, "route": {"cluster": gray}}] if gray else []),
                  {"match": {"prefix": "/"}, "route": {"cluster": base}}]
        router = {"name": "envoy.filters.http.router", "typed_config": {"@type": extension + "filters.http.router.v3.Router"}}
        return listener(name, address, "envoy.filters.network.http_connection_manager",
                        "filters.network.http_connection_manager.v3.HttpConnectionManager", {
                            "generate_request_id": False, "http_filters": [router],
                            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}})

    def tcp(name, address, to):
        return listener(name, address, "envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", {"cluster": to})

    conf = Path(scratch) / "envoy.json"
    conf.write_text(json.dumps({"static_resources": {
        "listeners": [http("route", ROUTE, "base", "gray"), http("h2", H2, "base_h2", "gray_h2"),
                      http("plain", PLAIN, "base_plain"), tcp("tcp", TCP, "base_tcp")],
        "clusters": [cluster("base", BASE, False), cluster("gray", GRAY, False),
                     cluster("base_plain", BASE_PLAIN, False), cluster("base_tcp", BASE_TCP, False),
                     cluster("base_h2", BASE_H2, True), cluster("gray_h2", GRAY_H2, True)]}}))
    return [find("envoy"), "-c", conf, "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]


def laneway(program):
    """Ours in static mode: outbound listeners, the tag chooses among the instances of the listener's service. Bytes that are
    not read come by an inbound listener: an outbound one learns only from a redirect that they are meant for such a port."""
    def command(scratch):
        conf = Path(scratch) / "laneway.yaml"
        conf.write_text(f"""
kind: Service
name: route
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{BASE}', portName: http}}, {{address: '{GRAY}', portName: http, tag: gray}}]
---
kind: Service
name: h2
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{BASE_H2}', portName: http}}, {{address: '{GRAY_H2}', portName: http, tag: gray}}]
---
kind: Service
name: plain
ports: [{{port: 80, name: http}}]
endpoints: [{{address: '{BASE_PLAIN}', portName: http}}]
---
kind: Proxy
service: caller
listeners:
  - {{address: '{ROUTE}', direction: outbound, defaultService: route}}
  - {{address: '{H2}', direction: outbound, defaultService: h2}}
  - {{address: '{PLAIN}', direction: outbound, defaultService: plain}}
  - {{address: '{TCP}', direction: inbound, forwardTo: '{BASE_TCP}'}}
""")
        # A drain would only make the end of a measurement wait.
        return [program, "--resources", conf, "--opaque-ports", split(BASE_TCP)[1], "--drain-min", "0s", "--drain-max", "0s"]
    return command


BUILDERS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy}
