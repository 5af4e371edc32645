"""Laneway in a real Kubernetes: an API server with its etcd and controllers, on this machine, in network and mount namespaces of this run.

First the tests in Rust that need an API server, then an installation that is used as people would: `lanectl install`, pods that the
webhook injects, lanes by kubectl and by lanectl, replicas that die. Each claim is a function below; the last line counts them.
"""
import argparse
import base64
import json
import os
import shutil
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from cluster import Cluster, TOOLS, wait_for
from kubelet import Kubelet, claims

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "laneway-system"
SHAPES = ROOT / "control-api" / "tests" / "inject"
CLAIMS = []


def claim(function):
    """One that is shown, in this order."""
    CLAIMS.append(function)
    return function


class Run:
    """The cluster, and the ways to ask it."""

    def __init__(self, cluster, kubelet, programs):
        self.cluster, self.kubelet, self.programs = cluster, kubelet, programs

    def kubectl(self, *arguments, stdin=None, check=True, kubeconfig=None):
        command = [TOOLS / "kubectl", "--kubeconfig", kubeconfig or self.cluster.kubeconfig, *arguments]
        return self.command(command, stdin, check)

    def lanectl(self, *arguments, stdin=None, check=True, kubeconfig=None):
        """Knows the cluster, as kubectl does, and no control plane."""
        return self.command([self.programs / "lanectl", *arguments], stdin, check, {"KUBECONFIG": str(kubeconfig or self.cluster.kubeconfig)})

    def asked(self, *arguments, token=None, check=True, replica=None):
        """lanectl asks the control plane, one replica of it or any, by somebody's token."""
        pod = replica or self.replicas()[0]
        folder = self.cluster.folder
        authorities = folder / "authorities.pem"
        authorities.write_text(self.object("configmap", "laneway-ca", SYSTEM)["data"]["ca.pem"])
        who = token or self.kubectl("create", "token", "admin", "-n", SYSTEM, "--audience", "laneway.io").strip()
        connection = ["--server", f"https://{pod['status']['podIP']}:15411", "--ca", str(authorities), "--server-name", f"laneway-control.{SYSTEM}.svc"]
        return self.command([self.programs / "lanectl", *connection, *arguments], None, check, {"LANECTL_TOKEN": who})

    def scraped(self, token):
        """The metrics of a replica, as Prometheus asks for them."""
        address = self.replicas()[0]["status"]["podIP"]
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{address}:15411/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=10, context=ssl._create_unverified_context()) as answer:
            return answer.read().decode()

    def command(self, command, stdin=None, check=True, variables=None):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.cluster.folder), **(variables or {})}
        done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=300, env=environment, check=False)
        if not check:
            return done
        if done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
        return done.stdout

    def object(self, kind, name, namespace="default"):
        return json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))

    def objects(self, kind, namespace="default", *arguments):
        return json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json", *arguments))["items"]

    def replicas(self):
        """Pods of the control plane that are ready."""
        return [pod for pod in self.objects("pods", SYSTEM, "-l", "app.kubernetes.io/name=laneway-control") if is_ready(pod)]

    def leader(self):
        return self.object("lease", "laneway-control", SYSTEM)["spec"].get("holderIdentity")


def is_ready(pod):
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", [])) and not pod["metadata"].get("deletionTimestamp")


# ---- before anything is installed


@claim
def the_cluster_takes_every_golden_pod(run):
    namespace = "golden"
    run.kubectl("create", "namespace", namespace)
    wait_for("its ServiceAccount", lambda: run.kubectl("get", "sa", "default", "-n", namespace, "--ignore-not-found"))
    run.kubectl("create", "serviceaccount", "cart", "-n", namespace)
    wrong, count = [], 0
    for shape in sorted(SHAPES.iterdir()):
        for out in shape.glob("out.*"):
            for document in filter(None, yaml.safe_load_all(out.read_text())):
                for pod in pods_of(document):
                    count += 1
                    # Some have fields that no API server knows yet, which are kept: it is asked to pass over them, as kubectl could.
                    done = run.kubectl("create", "--dry-run=server", "--validate=ignore", "-n", namespace, "-f", "-", stdin=json.dumps(pod), check=False)
                    if done.returncode:
                        wrong.append(f"{shape.name}: {done.stderr[:600]}")
    assert not wrong and count >= 20, f"{count} pods\n" + "\n".join(wrong)


def pods_of(document):
    """What a controller would make of it."""
    if document["kind"].endswith("List"):
        for item in document["items"]:
            yield from pods_of(item)
        return
    spec = document.get("spec") or {}
    spec = (spec.get("jobTemplate") or {}).get("spec") or spec
    pod = document if document["kind"] == "Pod" else spec.get("template")
    if pod and (pod.get("spec") or {}).get("containers"):
        # What the shapes leave out because it says nothing of sidecars.
        for container in pod["spec"]["containers"]:
            container.setdefault("image", "example/app:1")
        claimed = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in spec.get("volumeClaimTemplates") or []]
        pod["spec"]["volumes"] = (pod["spec"].get("volumes") or []) + claimed
        metadata = {key: value for key, value in (pod.get("metadata") or {}).items() if key in ("labels", "annotations")}
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "generateName": "golden-"}, "spec": pod["spec"]}


@claim
def check_before_an_installation_finds_nothing_in_its_way(run):
    said = run.lanectl("check", "--pre", check=False)
    assert said.returncode == 0, said.stdout + said.stderr


@claim
def check_before_an_installation_says_what_somebody_may_not_do(run):
    run.kubectl("create", "serviceaccount", "nobody")
    token = run.kubectl("create", "token", "nobody").strip()
    kubeconfig = run.cluster.write_kubeconfig(run.cluster.folder / "nobody.kubeconfig", token)
    said = run.lanectl("check", "--pre", check=False, kubeconfig=kubeconfig)
    assert said.returncode == 1 and "customresourcedefinitions" in said.stdout, said.stdout + said.stderr


@claim
def lanectl_leaves_to_helm_what_helm_made(run):
    helm = lambda *words: run.command([TOOLS / "helm", "--kubeconfig", run.cluster.kubeconfig, *words])
    helm("install", "lw", ROOT / "deploy" / "helm" / "laneway", "-n", SYSTEM, "--create-namespace", "--set", "replicas=1")
    wait_for("the replica of the release", run.replicas)
    before = run.object("clusterrolebinding", "laneway-control")["metadata"]["resourceVersion"]
    for words in (("install", "--force-conflicts"), ("upgrade", "--force-conflicts"), ("upgrade", "--dry-run")):
        refused = run.lanectl(*words, check=False)
        assert refused.returncode == 1 and f"helm upgrade lw -n {SYSTEM} changes it; nothing was changed" in refused.stderr, refused
    assert run.object("clusterrolebinding", "laneway-control")["metadata"]["resourceVersion"] == before
    said = run.lanectl("check", "--pre", check=False)
    assert "! Helm's release lw is an installation in laneway-system already" in said.stdout, said.stdout
    helm("uninstall", "lw", "-n", SYSTEM, "--wait")
    run.kubectl("delete", "-f", ROOT / "deploy" / "kubernetes" / "crds.yaml")
    run.kubectl("delete", "namespace", SYSTEM)
    # What it said as its rights went is no matter of the claim that looks for that.
    shutil.rmtree(run.cluster.folder / "pods")


@claim
def install_brings_two_ready_replicas(run):
    said = run.lanectl("install", "--wait", "2m", "--inject", "log-level=warn")
    assert "every replica is ready" in said, said
    assert len(run.replicas()) == 2
    # Somebody who may do everything, for what follows.
    run.kubectl("create", "serviceaccount", "admin", "-n", SYSTEM)
    run.kubectl("create", "clusterrolebinding", "lane-admin", "--clusterrole=laneway-admin", f"--serviceaccount={SYSTEM}:admin")


@claim
def installing_twice_is_refused_and_upgrade_keeps_the_settings(run):
    again = run.lanectl("install", check=False)
    assert again.returncode == 1 and "lanectl upgrade changes it" in again.stderr, again.stderr
    rendered = run.lanectl("upgrade", "--dry-run", "--replicas", "3")
    assert "--inject=log-level=warn" in rendered and "replicas: 3" in rendered
    run.kubectl("create", "configmap", "stranger", "-n", SYSTEM)
    run.kubectl("patch", "service", "laneway-control", "-n", SYSTEM, "--field-manager=somebody", "-p", '{"spec": {"selector": {"app.kubernetes.io/name": "elsewhere"}}}')
    stopped = run.lanectl("upgrade", "--replicas=3", check=False)
    assert stopped.returncode == 1 and "somebody" in stopped.stderr and "--force-conflicts" in stopped.stderr, stopped.stderr
    # Of what comes before the service, too.
    kept = lambda: json.loads(run.object("configmap", "laneway-install", SYSTEM)["data"]["settings"])
    assert "nothing was changed" in stopped.stderr and not stopped.stdout and kept() == {"inject": ["log-level=warn"]}, stopped
    said = run.lanectl("upgrade", "--force-conflicts", "--wait", "2m")
    assert "every replica is ready" in said, said
    assert run.object("service", "laneway-control", SYSTEM)["spec"]["selector"] == {"app.kubernetes.io/name": "laneway-control"}
    run.kubectl("get", "configmap", "stranger", "-n", SYSTEM)


@claim
def a_second_installation_is_refused_before_it_takes_anything(run):
    once = [("clusterrolebinding", "laneway-control"), ("mutatingwebhookconfiguration", "laneway-inject"), ("clusterrole", "laneway-control")]
    versions = lambda: [run.object(*one)["metadata"]["resourceVersion"] for one in once]
    before = versions()
    refused = run.lanectl("install", "-n", "elsewhere", check=False)
    assert refused.returncode == 1 and f"installation in namespace {SYSTEM}" in refused.stderr and "nothing was changed" in refused.stderr, refused.stderr
    said = run.lanectl("check", "--pre", "-n", "elsewhere", check=False)
    assert said.returncode == 1 and f"✗ there is an installation in namespace {SYSTEM}" in said.stdout, said.stdout
    assert run.kubectl("get", "namespace", "elsewhere", check=False).returncode, "it was made"
    # Helm looks by itself.
    chart = ROOT / "deploy" / "helm" / "laneway"
    helm = run.command([TOOLS / "helm", "--kubeconfig", run.cluster.kubeconfig, "install", "other", chart, "-n", "elsewhere", "--create-namespace"], check=False)
    assert helm.returncode and "invalid ownership metadata" in helm.stderr, helm.stderr
    run.kubectl("delete", "namespace", "elsewhere", "--ignore-not-found")
    assert versions() == before
    said = run.lanectl("check", "--cluster", check=False)
    assert "✓ no other namespace has an installation" in said.stdout, said.stdout


@claim
def what_an_installation_that_is_gone_left_behind_is_taken_over(run):
    rendered = yaml.safe_load_all(run.lanectl("install", "-n", "elsewhere", "--dry-run"))
    webhook = next(one for one in rendered if one["kind"] == "MutatingWebhookConfiguration")
    run.kubectl("create", "namespace", "elsewhere")
    run.kubectl("create", "deployment", "laneway-control", "-n", "elsewhere", "--image=example/other:1", "--replicas=0")
    run.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(webhook))
    refused = run.lanectl("upgrade", "--force-conflicts", check=False)
    assert refused.returncode == 1 and "there is an installation in namespace elsewhere" in refused.stderr, refused.stderr
    # As docs/runbooks.md has it.
    run.kubectl("delete", "namespace", "elsewhere")
    said = run.lanectl("check", "--cluster", check=False)
    assert said.returncode == 1 and "laneway-inject names namespace elsewhere, where no control plane is any more" in said.stdout, said.stdout
    refused = run.lanectl("upgrade", check=False)
    assert refused.returncode == 1 and "kubectl" in refused.stderr and "nothing was changed" in refused.stderr, refused.stderr
    done = run.lanectl("upgrade", "--force-conflicts", "--wait", "2m")
    assert "where no control plane is any more: taken over" in done, done
    asked = {one["clientConfig"]["service"]["namespace"] for one in run.object("mutatingwebhookconfiguration", "laneway-inject")["webhooks"]}
    assert asked == {SYSTEM}, asked
    said = run.lanectl("check", "--cluster", check=False)
    assert "✓ no other namespace has an installation" in said.stdout, said.stdout


@claim
def an_upgrade_takes_no_image_of_another_version_unsaid(run):
    deployment = lambda: run.object("deployment", "laneway-control", SYSTEM)
    generation, own = deployment()["metadata"]["generation"], deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
    older = {"image": "example/laneway/control:0.0.9", "inject": ["log-level=warn"]}
    run.kubectl("patch", "configmap", "laneway-install", "-n", SYSTEM, "-p", json.dumps({"data": {"settings": json.dumps(older)}}))
    stopped = run.lanectl("upgrade", "--force-conflicts", check=False)
    assert stopped.returncode == 1 and "--image example/laneway/control:0.0.9. Give those of" in stopped.stderr, stopped.stderr
    # Who takes the installation away has to be told of it nevertheless.
    said = run.lanectl("upgrade", "--dry-run", check=False)
    assert said.returncode == 0 and "image: example/laneway/control:0.0.9" in said.stdout and "an upgrade stops there" in said.stderr, said.stderr
    run.lanectl("upgrade", f"--image={own}", "--force-conflicts", "--wait", "2m")
    assert deployment()["metadata"]["generation"] == generation


@claim
def monitors_come_with_a_token_that_is_good_and_go_when_they_are_switched_off(run):
    kept = lambda: run.object("configmap", "laneway-install", SYSTEM)["data"]
    before = kept()
    refused = run.lanectl("upgrade", "--pod-monitor", check=False)
    assert refused.returncode == 1 and "which the Prometheus operator brings; nothing was changed" in refused.stderr, refused.stderr
    assert kept() == before
    run.kubectl("apply", "-f", "-", stdin=json.dumps(POD_MONITORS))
    run.kubectl("wait", "crd", POD_MONITORS["metadata"]["name"], "--for=condition=Established", "--timeout=60s")
    # As it was made by hand before there was one of ours.
    run.kubectl("create", "secret", "generic", "laneway-prometheus", "-n", SYSTEM, "--from-literal=token=mine")
    run.lanectl("upgrade", "--pod-monitor", "--wait", "2m")
    monitor = run.object("podmonitor", "laneway-control", SYSTEM)["spec"]["podMetricsEndpoints"][0]
    named = monitor["authorization"]["credentials"]
    secret = wait_for("the token", lambda: run.object("secret", named["name"], SYSTEM).get("data", {}).get(named["key"]))
    assert "laneway_control_" in run.scraped(base64.b64decode(secret).decode())
    try:
        run.scraped(None)
        raise AssertionError("metrics are for everybody")
    except urllib.error.HTTPError as refused:
        assert refused.code == 401, refused
    # With our label, and not ours.
    theirs = {**json.loads(run.kubectl("get", "podmonitor", "laneway-proxy", "-n", SYSTEM, "-o", "json")), "metadata": {
        "name": "theirs", "namespace": SYSTEM, "labels": {"app.kubernetes.io/part-of": "laneway"}}}
    run.kubectl("create", "-f", "-", stdin=json.dumps(theirs))
    gone = ["podmonitor/laneway-proxy", "podmonitor/laneway-control", "secret/laneway-metrics", "serviceaccount/laneway-metrics"]
    everywhere = ["clusterrolebinding/laneway-metrics"]
    said = run.lanectl("upgrade", "--pod-monitor=false", "--dry-run", check=False)
    assert said.returncode == 0 and "kind: PodMonitor" not in said.stdout, said
    told = {line.split(" ")[0] for line in said.stderr.splitlines() if line.endswith(" is no longer part of it: an upgrade deletes it")}
    assert told == {*gone, *everywhere}, said.stderr
    run.kubectl("get", *gone, "-n", SYSTEM)
    done = run.lanectl("upgrade", "--pod-monitor=false", "--wait", "2m")
    assert all(f"{one} deleted" in done for one in gone + everywhere), done
    left = run.kubectl("get", *gone, *everywhere, "podmonitor/theirs", "-n", SYSTEM, "--ignore-not-found", "-o", "name").split()
    assert left == ["podmonitor.monitoring.coreos.com/theirs"], left
    assert run.object("secret", "laneway-prometheus", SYSTEM)["type"] == "Opaque"
    run.kubectl("delete", "crd", POD_MONITORS["metadata"]["name"])


# The kind that the Prometheus operator brings, as far as the API server has to know it.
POD_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "podmonitors.monitoring.coreos.com"},
    "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
             "versions": [{"name": "v1", "served": True, "storage": True,
                           "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}


@claim
def the_chart_says_what_lanectl_says(run):
    chart = ROOT / "deploy" / "helm" / "laneway"
    run.command([TOOLS / "helm", "lint", "--strict", "--kube-version", "1.37", chart])
    for flags, values in (([], []), (["--replicas=3", "--failure-policy=Ignore", "--pod-monitor", "--image-pull-secret=registry", "--memory-limit=2Gi", "--webhook-port=10250", "--inject=drain-seconds=10"],
                                     ["replicas=3", "failurePolicy=Ignore", "podMonitor=true", "imagePullSecrets[0].name=registry", "memoryLimit=2Gi", "webhookPort=10250", "inject.drain-seconds=10"])):
        chosen = [word for value in values for word in ("--set", value)]
        helm = run.command([TOOLS / "helm", "template", "laneway", chart, "-n", SYSTEM, "--include-crds", "--kube-version", "1.37", *chosen])
        ours = run.lanectl("install", "--dry-run", *flags)
        # Helm makes the namespace, and remembers the settings, itself.
        only_ours = {("Namespace", SYSTEM), ("ConfigMap", "laneway-install")}
        assert keyed(ours, only_ours) == keyed(helm, set())
    for words, says in ((["-n", SYSTEM, "--set", "replica=3"], "replica"), (["-n", "kube-system"], "allowed: a namespace for it alone"), ([], "`default` is not")):
        refused = run.command([TOOLS / "helm", "template", "laneway", chart, "--kube-version", "1.37", *words], check=False)
        assert refused.returncode and says in refused.stderr, refused.stderr


def keyed(text, without):
    """Documents by kind and name."""
    found = {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(text) if document}
    return {key: document for key, document in found.items() if key not in without}


# ---- pods


@claim
def the_webhook_injects_what_kubectl_creates(run):
    run.kubectl("create", "namespace", "demo")
    run.kubectl("label", "namespace", "demo", "laneway.io/inject=enabled")
    wait_for("its ServiceAccount", lambda: run.kubectl("get", "sa", "default", "-n", "demo", "--ignore-not-found"))
    wait_for("the authorities in the namespace", lambda: run.kubectl("get", "configmap", "laneway-ca", "-n", "demo", "--ignore-not-found"))
    run.kubectl("apply", "-n", "demo", "-f", ROOT / "deploy/kubernetes/demo/demo.yaml")
    pods = wait_for("all pods", lambda: (lambda found: len(found) == 13 and all(map(is_ready, found)) and found)(run.objects("pods", "demo")))
    for pod in pods:
        names = [one["name"] for one in pod["spec"].get("initContainers", [])]
        wanted = [] if pod["metadata"]["labels"]["app"].startswith("nacos") else ["laneway-init", "laneway-proxy"]
        assert names == wanted, f"{pod['metadata']['name']}: {names}"
        if wanted:
            variables = {one["name"]: one.get("value") for one in pod["spec"]["initContainers"][1]["env"]}
            assert variables["LANEWAY_CONTROL"] == f"https://laneway-control.{SYSTEM}.svc:15410", variables
            assert variables["LANEWAY_LOG"] == "warn", variables


@claim
def the_webhook_makes_of_a_pod_what_lanectl_inject_makes_of_it(run):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alike", "namespace": "demo", "labels": {"app": "alike", "laneway.io/tag": "gray"}},
           "spec": {"containers": [{"name": "app", "image": "example/app:1", "livenessProbe": {"tcpSocket": {"port": 8080}}}]}}
    by_webhook = json.loads(run.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod)))
    flags = [f"--control=https://laneway-control.{SYSTEM}.svc:15410", "--control-ca=laneway-ca", "--control-token=laneway.io", "--log-level=warn"]
    by_hand = run.lanectl("inject", *flags, "-", stdin=json.dumps(pod))
    run.kubectl("label", "namespace", "demo", "laneway.io/inject-")
    try:
        by_hand = json.loads(run.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=by_hand))
    finally:
        run.kubectl("label", "namespace", "demo", "laneway.io/inject=enabled")
    for part in (by_webhook, by_hand):
        for field in ("uid", "creationTimestamp", "managedFields"):
            part["metadata"].pop(field, None)
        # What there was before: the webhook sees a pod into which the API server has filled its defaults.
        part["metadata"]["annotations"].pop("laneway.io/status")
        # The default token, which the API server mounts under a random name, before the webhook or after it.
        for volume in part["spec"]["volumes"]:
            if volume["name"].startswith("kube-api-access-"):
                rename(part["spec"], volume["name"])
        part["spec"]["volumes"].sort(key=lambda volume: volume["name"])
    assert by_webhook == by_hand, json.dumps([by_webhook, by_hand], indent=1)


def rename(spec, name):
    for volume in spec["volumes"]:
        if volume["name"] == name:
            volume["name"] = "kube-api-access"
    for container in spec["containers"] + spec.get("initContainers", []):
        for mount in container.get("volumeMounts", []):
            if mount["name"] == name:
                mount["name"] = "kube-api-access"


@claim
def a_pod_that_cannot_be_meant_is_refused_with_the_reason(run):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wrong", "namespace": "demo", "annotations": {"laneway.io/drain-seconds": "soon"}},
           "spec": {"containers": [{"name": "app", "image": "example/app:1"}]}}
    refused = run.kubectl("create", "-f", "-", stdin=json.dumps(pod), check=False)
    assert refused.returncode and "`soon` is no number of seconds" in refused.stderr, refused.stderr
    outside = run.kubectl("create", "-n", "default", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps({**pod, "metadata": {"name": "outside"}}))
    assert "initContainers" not in json.loads(outside)["spec"]


# ---- lanes


@claim
def a_lane_that_kubectl_applies_is_one_of_lanectl_and_the_other_way(run):
    run.kubectl("apply", "-f", "-", stdin=LANE)
    wait_for("the lane at lanectl", lambda: "gray" in run.asked("lane", "list", "-n", "demo"))
    run.asked("lane", "disable", "gray", "-n", "demo")
    wait_for("the lane off at kubectl", lambda: run.object("lane", "gray", "demo")["spec"].get("enabled") is False)
    run.asked("lane", "enable", "gray", "-n", "demo")
    assert run.object("lane", "gray", "demo")["spec"]["enabled"] is True
    table = run.kubectl("get", "lanes", "-n", "demo")
    assert "TAG" in table and "ENABLED" in table, table
    wait_for("the status", lambda: {one["type"]: one["status"] for one in run.object("lane", "gray", "demo").get("status", {}).get("conditions", [])}.get("Accepted") == "True")
    history = run.asked("history")
    assert "kubectl" in history, history


LANE = """
apiVersion: laneway.io/v1alpha1
kind: Lane
metadata:
  name: gray
  namespace: demo
spec:
  tag: gray
  enabled: true
"""


@claim
def the_cluster_refuses_objects_that_cannot_be_meant(run):
    for wrong, says in ((LANE.replace("tag: gray", "tag: Gray"), "spec.tag"), (LANE.replace("enabled: true", "enabled: perhaps"), "enabled"),
                        (LANE.replace("enabled: true", "enable: true"), "enable")):
        refused = run.kubectl("apply", "--validate=strict", "-f", "-", stdin=wrong, check=False)
        assert refused.returncode and says in refused.stderr, f"{wrong}: {refused.stdout}{refused.stderr}"


@claim
def an_edit_that_is_refused_leaves_in_force_what_was_also_when_all_start_anew(run):
    broken = {"entry": {"services": ["spring-cloud-a"], "rules": [{"match": {"header": "x", "regex": "("}}]}}
    run.kubectl("patch", "lane", "gray", "-n", "demo", "--type=merge", "-p", json.dumps({"spec": broken}))
    accepted = lambda: condition(run, "gray", "Accepted")
    wait_for("the refusal", lambda: accepted().get("status") == "False" and "regex" in accepted()["message"])
    # A file takes the place of all that is said there, our own note too.
    kept = run.object("lane", "gray", "demo")
    del kept["metadata"]["annotations"]
    run.kubectl("replace", "-f", "-", stdin=json.dumps(kept))
    before = in_force(run, "gray")
    assert before["uid"] and "entry" not in before, before
    run.kubectl("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=laneway-control")
    wait_for("both replicas anew", lambda: len(run.replicas()) == 2)
    for replica in run.replicas():
        assert in_force(run, "gray", replica) == before
    run.kubectl("patch", "lane", "gray", "-n", "demo", "--type=json", "-p", '[{"op": "remove", "path": "/spec/entry"}]')
    wait_for("the acceptance", lambda: accepted().get("status") == "True")


@claim
def a_lane_that_is_deleted_and_written_back_from_a_copy_is_in_force_again(run):
    run.kubectl("apply", "-f", "-", stdin=LANE.replace("gray", "copied"))
    wait_for("the lane", lambda: condition(run, "copied", "Accepted").get("status") == "True")
    copy = run.object("lane", "copied", "demo")
    assert "laneway.io/accepted" in copy["metadata"]["annotations"]
    run.kubectl("delete", "lane", "copied", "-n", "demo")
    wait_for("the end of the lane", lambda: "copied" not in run.asked("lane", "list", "-n", "demo"))
    run.kubectl("create", "-f", "-", stdin=json.dumps({**copy, "metadata": {key: copy["metadata"][key] for key in ("name", "namespace", "annotations")}}))
    wait_for("the lane anew", lambda: "copied" in run.asked("lane", "list", "-n", "demo"))
    # Of two texts the later one counts, though it is a copy of what was accepted once.
    run.asked("lane", "disable", "copied", "-n", "demo")
    now = run.object("lane", "copied", "demo")
    now["metadata"]["annotations"], now["spec"] = copy["metadata"]["annotations"], copy["spec"]
    run.kubectl("replace", "-f", "-", stdin=json.dumps(now))
    wait_for("the lane switched on again", lambda: in_force(run, "copied")["enabled"])
    # Deleted and created in one breath: what was written last stays.
    for priority in range(1, 6):
        run.kubectl("replace", "--force", "-f", "-", stdin=LANE.replace("gray", "copied") + f"  priority: {priority}\n")
        wait_for("the lane anew", lambda: in_force(run, "copied").get("priority") == priority)
        assert run.object("lane", "copied", "demo")["spec"]["priority"] == priority
    run.kubectl("delete", "lane", "copied", "-n", "demo")


@claim
def of_two_objects_that_are_one_lane_the_second_is_refused_and_why(run):
    group = LANE.replace("kind: Lane", "kind: LaneGroup").replace("name: gray", "name: shop").split("spec:")[0]
    of_shop = lambda name: LANE.replace("name: gray", f"name: {name}").replace("tag: gray", "tag: twin") + "  group: shop\n"
    run.kubectl("apply", "-f", "-", stdin=f"{group}\n---\n{of_shop('shop.twin')}")
    wait_for("the first", lambda: condition(run, "shop.twin", "Accepted").get("status") == "True")
    run.kubectl("create", "-f", "-", stdin=of_shop("twin"))
    wait_for("the refusal", lambda: condition(run, "twin", "Accepted").get("reason") == "LANE0802")
    assert condition(run, "shop.twin", "Accepted")["status"] == "True"
    run.kubectl("delete", "lane", "twin", "shop.twin", "-n", "demo")
    wait_for("the end of the lane", lambda: "twin" not in run.asked("lane", "list", "-n", "demo"))
    run.kubectl("delete", "lanegroup", "shop", "-n", "demo")


def in_force(run, lane, replica=None):
    """What people write of a lane, and which one it is."""
    lanes = json.loads(run.asked("lane", "list", "-n", "demo", "-o", "json", replica=replica))
    said = next(one for one in (lanes if isinstance(lanes, list) else [lanes]) if one["name"].endswith(f"/{lane}"))
    return {key: said[key] for key in ("uid", "revision", "tag", "enabled", "entry", "priority") if key in said}


def condition(run, lane, kind):
    conditions = run.object("lane", lane, "demo").get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == kind), {})


@claim
def discovery_follows_scale_readiness_and_termination(run):
    wait_for("the gray instances", lambda: covered(run, "spring-cloud-a"))
    before = covered(run, "spring-cloud-a")
    assert before == 2, before
    run.kubectl("scale", "deployment", "spring-cloud-a-new", "--replicas=3", "-n", "demo")
    wait_for("three gray instances of A", lambda: covered(run, "spring-cloud-a") == 3)
    pod = next(pod for pod in run.objects("pods", "demo") if pod["metadata"]["name"].startswith("spring-cloud-a-new"))
    run.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", "demo", "laneway.test/unready=yes")
    wait_for("two of them ready", lambda: covered(run, "spring-cloud-a") == 2)
    run.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", "demo", "laneway.test/unready-")
    wait_for("three again", lambda: covered(run, "spring-cloud-a") == 3)
    # A pod that goes stands still for as long as its kubelet lets it: it is left at once, not when it is gone.
    run.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", "demo", "laneway.test/linger=yes")
    run.kubectl("scale", "deployment", "spring-cloud-a-new", "--replicas=4", "-n", "demo")
    wait_for("four", lambda: covered(run, "spring-cloud-a") == 4)
    run.kubectl("delete", "pod", pod["metadata"]["name"], "-n", "demo", "--wait=false")
    wait_for("the one that replaces it", lambda: covered(run, "spring-cloud-a") == 4)
    assert run.object("pod", pod["metadata"]["name"], "demo")["metadata"]["deletionTimestamp"]
    run.kubectl("annotate", "pod", pod["metadata"]["name"], "-n", "demo", "laneway.test/linger-")
    run.kubectl("scale", "deployment", "spring-cloud-a-new", "--replicas=1", "-n", "demo")
    wait_for("one", lambda: covered(run, "spring-cloud-a") == 1)


def covered(run, service):
    """Ready instances that the lane has of a service."""
    lane = json.loads(run.asked("describe", "lane", "gray", "-n", "demo", "-o", "json"))
    coverage = find_key(lane, "coverage") or []
    return sum(one.get("readyEndpoints", 0) for one in coverage if one["service"].endswith("/" + service))


def find_key(value, key):
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            if (found := find_key(one, key)) is not None:
                return found
    return None


@claim
def sidecars_acknowledge_a_lane_and_a_switch_by_kubectl_reaches_them(run):
    run.kubectl("create", "namespace", "shop")
    run.kubectl("label", "namespace", "shop", "laneway.io/inject=enabled")
    wait_for("its ServiceAccount", lambda: run.kubectl("get", "sa", "default", "-n", "shop", "--ignore-not-found"))
    wait_for("the authorities in the namespace", lambda: run.kubectl("get", "configmap", "laneway-ca", "-n", "shop", "--ignore-not-found"))
    run.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "back", "namespace": "shop"},
         "spec": {"selector": {"app": "back"}, "ports": [{"port": 80, "targetPort": 8080}]}}]))
    back = run.object("service", "back", "shop")["spec"]["clusterIP"]
    pods = [running_pod("front", "front", NEXT=f"http://{back}/"), running_pod("back", "back"), running_pod("back-gray", "back", "gray")]
    run.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(pods))
    names = {pod["metadata"]["name"] for pod in pods}
    wait_for("the pods", lambda: {pod["metadata"]["name"] for pod in run.objects("pods", "shop") if is_ready(pod)} == names, run.kubelet.check)
    run.kubectl("apply", "-f", "-", stdin=SHOP_LANE)
    front = run.object("pod", "front", "shop")["status"]["podIP"]

    def asked(**headers):
        """Who answers on the way of a request that comes from outside."""
        request = urllib.request.Request(f"http://{front}:8080/", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    tester = {"x-user-id": "100"}
    wait_for("the lane", lambda: asked(**tester) == "front back-gray", run.kubelet.check)
    assert asked() == "front back"

    def programmed():
        """What is said of its sidecars, once all have what the object says now."""
        lane = run.object("lane", "gray", "shop")
        status = lane.get("status", {})
        found = next((one for one in status.get("conditions", []) if one["type"] == "Programmed"), {})
        is_it = found.get("status") == "True" and found.get("reason") == "Acknowledged" and found.get("observedGeneration") == lane["metadata"]["generation"]
        return is_it and status.get("acked")

    acked, count = wait_for("every sidecar's word", programmed).split("/")
    assert acked == count and int(count) >= 2, f"{acked}/{count}"
    row = run.kubectl("get", "lane", "gray", "-n", "shop")
    assert f"{acked}/{count}" in row and "ACKED" in row, row
    for is_on, way in ((False, "front back"), (True, "front back-gray")):
        run.kubectl("patch", "lane", "gray", "-n", "shop", "--type=merge", "-p", json.dumps({"spec": {"enabled": is_on}}))
        wait_for(f"the lane, enabled {is_on}", lambda: asked(**tester) == way)
        assert wait_for("every sidecar's word", programmed) == f"{count}/{count}"
    run.kubectl("delete", "namespace", "shop")


def running_pod(name, app, tag=None, **env):
    """One that answers with its name, and asks the next, handing the tag on."""
    labels = {"app": app, **({"laneway.io/tag": tag} if tag else {})}
    variables = [{"name": key, "value": value} for key, value in {"NAME": name, **env}.items()]
    container = {"name": "app", "image": "example/app:1", "command": ["python3", "-c", APPLICATION], "env": variables, "ports": [{"containerPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "labels": labels, "annotations": {"laneway.test/run": "yes"}},
            "spec": {"containers": [container]}}


APPLICATION = """
import http.server, os, urllib.request
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        said = os.environ["NAME"]
        if "NEXT" in os.environ:
            tag = self.headers.get("x-mse-tag")
            request = urllib.request.Request(os.environ["NEXT"], headers={"x-mse-tag": tag} if tag else {})
            with urllib.request.urlopen(request, timeout=5) as answer:
                said += " " + answer.read().decode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
http.server.ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""

SHOP_LANE = """
apiVersion: laneway.io/v1alpha1
kind: Lane
metadata: {name: gray, namespace: shop}
spec:
  tag: gray
  enabled: true
  entry:
    services: [front]
    rules:
    - name: testers
      match: {header: x-user-id, exact: '100'}
"""


# ---- who may what


@claim
def an_operator_may_switch_a_lane_and_nothing_else(run):
    run.kubectl("create", "serviceaccount", "on-call", "-n", "demo")
    run.kubectl("create", "clusterrolebinding", "on-call", "--clusterrole=laneway-operator", "--serviceaccount=demo:on-call")
    token = run.kubectl("create", "token", "on-call", "-n", "demo", "--audience", "laneway.io").strip()
    run.asked("lane", "disable", "gray", "-n", "demo", token=token)
    run.asked("lane", "enable", "gray", "-n", "demo", token=token)
    refused = run.asked("delete", "lane", "gray", "-n", "demo", token=token, check=False)
    assert refused.returncode == 1 and "operator" in refused.stderr, refused.stderr
    run.kubectl("create", "serviceaccount", "stranger", "-n", "demo")
    stranger = run.kubectl("create", "token", "stranger", "-n", "demo", "--audience", "laneway.io").strip()
    refused = run.asked("lane", "list", "-n", "demo", token=stranger, check=False)
    assert refused.returncode == 1, refused.stdout


@claim
def a_forged_token_and_one_for_others_are_refused(run):
    genuine = run.kubectl("create", "token", "admin", "-n", SYSTEM, "--audience", "laneway.io").strip()
    head, body, signature = genuine.split(".")
    other = run.kubectl("create", "token", "admin", "-n", SYSTEM, "--audience", "somebody.example").strip()
    assert claims(genuine)["aud"] == ["laneway.io"] and claims(other)["aud"] == ["somebody.example"]
    for forged in (f"{head}.{body}.{signature[::-1]}", other, "nonsense"):
        refused = run.asked("lane", "list", "-n", "demo", token=forged, check=False)
        assert refused.returncode == 1 and "not known here" in refused.stderr, refused
    run.asked("lane", "list", "-n", "demo", token=genuine)


# ---- what breaks


@claim
def another_replica_leads_when_the_leader_is_killed(run):
    leader = wait_for("a leader", run.leader)
    pod = next(pod for pod in run.replicas() if pod["metadata"]["name"] == leader)
    # With its node: nothing brings it back at once, as a kubelet would.
    run.kubelet.running[pod["metadata"]["uid"]].send_signal(signal.SIGSTOP)
    try:
        wait_for("another leader", lambda: run.leader() not in (None, "", leader))
        rest = next(other for other in run.replicas() if other["metadata"]["name"] != leader)
        run.asked("lane", "disable", "gray", "-n", "demo", replica=rest)
        run.asked("lane", "enable", "gray", "-n", "demo", replica=rest)
    finally:
        run.kubelet.running[pod["metadata"]["uid"]].kill()
    wait_for("both replicas", lambda: len(run.replicas()) == 2)


@claim
def the_control_plane_may_do_what_it_did_and_no_more(run):
    # Before the API server restarts: for a moment after that it knows no roles yet.
    for pod, log in logs(run):
        assert "forbidden" not in log.lower(), f"{pod}: {log}"
    account = f"--as=system:serviceaccount:{SYSTEM}:laneway-control"
    # In words, since a question that went wrong ends as a no does.
    may = lambda *asked: run.kubectl("auth", "can-i", *asked, account, check=False).stdout.strip()
    for asked in (("create", "revisions.laneway.io", "-n", SYSTEM), ("patch", "configmap/laneway-ca", "-n", "demo"), ("get", "secret/laneway-ca", "-n", SYSTEM)):
        assert may(*asked) == "yes", asked
    for asked in (("create", "revisions.laneway.io", "-n", "demo"), ("list", "revisions.laneway.io", "-n", "demo"), ("get", "leases", "-n", "demo"),
                  ("get", "secret/laneway-ca", "-n", "demo"), ("get", "secrets", "-n", SYSTEM), ("list", "secrets", "-A"), ("get", "configmap/other", "-n", "demo"),
                  ("create", "configmaps", "-n", "demo"), ("patch", "configmap/other", "-n", SYSTEM), ("get", "pods", "-n", "demo"), ("create", "pods", "-n", SYSTEM),
                  ("patch", "lanes.laneway.io", "-n", "demo"), ("update", "lanes.laneway.io", "--subresource=status", "-n", "demo"), ("deletecollection", "lanes.laneway.io", "-n", "demo"),
                  ("create", "mutatingwebhookconfigurations"), ("patch", "mutatingwebhookconfiguration/other"), ("patch", "clusterrole/laneway-control")):
        assert may(*asked) == "no", asked


@claim
def the_api_server_may_restart(run):
    run.cluster.end("kube-apiserver", signal.SIGKILL)
    run.cluster.start_apiserver()
    wait_for("the API server", lambda: run.cluster.get("/readyz") == b"ok", run.cluster.check_alive)
    run.kubectl("scale", "deployment", "spring-cloud-b-new", "--replicas=3", "-n", "demo")
    wait_for("three gray instances of B", lambda: covered(run, "spring-cloud-b") == 3)
    run.asked("lane", "disable", "gray", "-n", "demo")
    run.asked("lane", "enable", "gray", "-n", "demo")


@claim
def check_of_the_installation_finds_it_well(run):
    said = run.asked("check", check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    said = run.lanectl("check", "--cluster", check=False)
    assert said.returncode in (0, 1) and "a new pod gets a sidecar" in said.stdout, said.stdout + said.stderr


@claim
def check_of_the_installation_says_what_would_refuse_a_new_pod(run):
    run.kubectl("create", "namespace", "guarded")
    try:
        run.kubectl("label", "namespace", "guarded", "laneway.io/inject=enabled", "pod-security.kubernetes.io/enforce=baseline")
        said = run.lanectl("check", "--cluster", check=False)
        told = [line for line in said.stdout.splitlines() if "a new pod would be refused in guarded" in line]
        assert said.returncode == 1 and told and "NET_ADMIN" in told[0], said.stdout + said.stderr
        assert "enforce=privileged" in said.stdout, said.stdout
        assert not run.objects("pods", "guarded")
    finally:
        run.kubectl("delete", "namespace", "guarded", "--wait=false")


@claim
def no_pod_is_refused_while_replicas_are_replaced(run):
    pod = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "during-", "namespace": "demo"},
                      "spec": {"containers": [{"name": "app", "image": "example/app:1"}]}})
    before = {replica["metadata"]["uid"] for replica in run.replicas()}
    run.kubectl("rollout", "restart", "deployment", "laneway-control", "-n", SYSTEM)
    injected = 0

    def is_over():
        nonlocal injected
        # The API server asks whichever replica it knows of; with Fail one that does not answer refuses the pod.
        made = json.loads(run.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=pod))
        assert made["spec"]["initContainers"], made
        injected += 1
        there = {one["metadata"]["uid"] for one in run.objects("pods", SYSTEM, "-l", "app.kubernetes.io/name=laneway-control")}
        return not there & before and len(run.replicas()) == 2

    wait_for("the new replicas", is_over, run.kubelet.check, timeout_s=240)
    assert injected > 5, injected


def injected(run):
    pods = json.loads(run.kubectl("get", "pods", "-A", "-l", "laneway.io/injected=true", "-o", "json"))["items"]
    return [(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in pods]


@claim
def uninstalling_as_the_page_says_leaves_nothing(run):
    page = (ROOT / "docs" / "install.md").read_text().split("## Uninstall")[1]
    run.kubectl("label", "namespace", "demo", "laneway.io/inject-")
    run.kubectl("rollout", "restart", re.search(r"rollout restart ([a-z,]+)`", page)[1], "-n", "demo")
    # Pods that nothing makes anew.
    for namespace, name in (one for one in injected(run) if one[0] != "demo"):
        run.kubectl("delete", "pod", name, "-n", namespace, "--wait=false")
    gate = re.search(r"`kubectl (get pods [^`]*)` finds none", page)[1].split()
    wait_for("no pod with a sidecar", lambda: not run.kubectl(*gate, "-o", "name").strip(), timeout_s=240)
    wait_for("pods without sidecars", lambda: all(is_ready(pod) for pod in run.objects("pods", "demo")), timeout_s=240)
    script = re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1]
    path = ":".join(map(str, (run.programs, TOOLS, os.environ["PATH"])))
    folder = run.cluster.folder / "uninstall"
    folder.mkdir()
    run.command(["sh", "-euc", f"cd {folder}\n{script}"], variables={"PATH": path, "KUBECONFIG": str(run.cluster.kubeconfig)})
    assert "kind: Lane" in (folder / "lanes.yaml").read_text()
    # By name: what has lost its label, or never had one, is left over too.
    everywhere = run.kubectl("get", "namespaces,crd,clusterroles,clusterrolebindings,mutatingwebhookconfigurations", "-o", "name").split()
    assert everywhere and not [one for one in everywhere if "laneway" in one], everywhere
    left = run.kubectl("get", "configmaps", "-A", "--field-selector", "metadata.name=laneway-ca", "-o", "name")
    assert not left.strip(), left
    # Nothing stands in the way of new pods, nor of another installation.
    run.kubectl("run", "after", "--image=example/app:1", "-n", "demo")
    said = run.lanectl("check", "--pre", check=False)
    assert said.returncode == 0, said.stdout + said.stderr


# What the others build on.
FOUNDATIONS = (install_brings_two_ready_replicas, the_webhook_injects_what_kubectl_creates, a_lane_that_kubectl_applies_is_one_of_lanectl_and_the_other_way)


def main():
    parser = argparse.ArgumentParser(prog="./x test-k8s", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="WORD", help="claims whose name contains it, and those that they build on")
    parser.add_argument("--before", action="store_true", help="with --only: claims that need no installation")
    parser.add_argument("--without-rust", action="store_true", help="leave the tests in Rust out")
    parser.add_argument("--keep", action="store_true", help="leave the folder of the cluster, with its logs")
    arguments = parser.parse_args()
    tests = [] if arguments.without_rust else rust_tests()
    isolate()
    folder = Path(tempfile.mkdtemp(prefix="laneway-k8s-"))
    folder.chmod(0o755)
    programs = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "quick"
    results = {}
    for program in tests:
        # In one of their own: what they install is none of lanectl's.
        first = Cluster(folder / "rust")
        try:
            results.update(run_rust(program, first.start()))
        finally:
            first.stop()
    cluster = Cluster(folder)
    kubelet = Kubelet(cluster, programs)
    try:
        cluster.start()
        kubelet.start()
        run = Run(cluster, kubelet, programs)
        for function in CLAIMS:
            is_wanted = not arguments.only or arguments.only in function.__name__
            if is_wanted or (function in FOUNDATIONS and not arguments.before):
                results[function.__name__] = shown(function, run)
    finally:
        kubelet.stop()
        cluster.stop()
        if arguments.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    failed = [name for name, is_good in results.items() if not is_good]
    print(f"\n{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def shown(function, run):
    name = function.__name__.replace("_", " ")
    try:
        function(run)
    except Exception:
        print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        for pod, log in logs(run):
            print(f"--- the last of {pod}\n{log[-1500:]}", flush=True)
        return False
    print(f"ok      {name}", flush=True)
    return True


def logs(run):
    for log in sorted((run.cluster.folder / "pods").glob("*/log")):
        yield log.parent.name, log.read_text(errors="replace")


def rust_tests():
    """The test programs of the control plane's package, built outside: later there is no network."""
    command = ["cargo", "test", "--profile", "quick", "--workspace", "--lib", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout
    found = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [one["executable"] for one in found if one.get("executable") and one["target"]["name"] == "laneway_control_api" and one["profile"]["test"]]


def run_rust(program, cluster):
    variables = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run([program, "--ignored", "kubernetes"], cwd=ROOT / "control-api", env=variables, capture_output=True, text=True, timeout=1200, check=False)
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith("test ") and " ... " in line:
            name, how = line[5:].split(" ... ", 1)
            results[name] = how.strip() == "ok"
    if done.returncode or not results:
        print(done.stdout[-20000:], done.stderr[-5000:], sep="\n", flush=True)
        results["the tests in Rust ran"] = bool(results)
    for name, is_good in results.items():
        print(f"{'ok     ' if is_good else 'FAILED '} {name}", flush=True)
    return results


def isolate():
    """Into network and mount namespaces of our own, once."""
    if os.environ.get("LANEWAY_K8S_ISOLATED") != "1":
        os.environ["LANEWAY_K8S_ISOLATED"] = "1"
        if os.geteuid() != 0:
            sys.exit("./x test-k8s makes network and mount namespaces: run it as root")
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Whatever is written below /etc for the pods is gone with this run.
    subprocess.run(["sh", "-c", "mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work && "
                    "mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc"], check=True)


if __name__ == "__main__":
    sys.exit(main())
