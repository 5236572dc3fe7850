"""The files of deploy/ and docker/: manifests against the schemas of Kubernetes, the unit against
systemd-analyze, Dockerfiles against what containers are expected to be.

$SPECD_DEPLOY_TOOLS (scripts/deploy-tools.sh) has helm and the schemas; without it those parts are
skipped."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.environ.get("SPECD_DEPLOY_TOOLS", "")
BIN = os.environ.get("TEST_BIN", "build/specd")
KUBERNETES = ("1.30", "1.34")
ALL_ON = ["podMonitor.enabled=true", "autoscaling.enabled=true", "inferencePool.enabled=true",
          "apiKeySecret=keys", "podMonitor.tokenSecret.name=t", "podMonitor.tokenSecret.key=k",
          "models.persistentVolumeClaim.claimName=m", "nodeSelector.gpu=h100", "imagePullSecrets[0].name=pull",
          "tolerations[0].operator=Exists", "image.tag=x"]

needs_tools = unittest.skipUnless(TOOLS, "scripts/deploy-tools.sh has not run")


def read(path):
    with open(os.path.join(ROOT, path)) as f:
        return f.read()


def options():
    """The server's options, as environment names."""
    text = subprocess.run([BIN, "--help"], capture_output=True, text=True, check=True).stdout
    return {"SPECD_" + n.upper().replace("-", "_") for n in re.findall(r"--([a-z][a-z-]+)", text)}


@needs_tools
class Chart(unittest.TestCase):
    def helm(self, *args):
        run = subprocess.run([TOOLS + "/helm", *args], capture_output=True, text=True, cwd=ROOT)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def render(self, *values):
        import yaml
        sets = [x for v in values for x in ("--set", v)]
        text = self.helm("template", "demo", "deploy/helm/specd", *sets)
        return {d["kind"]: d for d in yaml.safe_load_all(text) if d}

    def test_lint(self):
        self.helm("lint", "--strict", "deploy/helm/specd")

    def test_against_the_schemas(self):
        import kubernetes_validate as kv
        for values, kinds in (((), {"Service", "Deployment"}),
                              (ALL_ON, {"Service", "Deployment", "PodMonitor",
                                        "HorizontalPodAutoscaler", "InferencePool"})):
            docs = self.render(*values)
            self.assertEqual(set(docs), kinds)
            for kind in ("Service", "Deployment", "HorizontalPodAutoscaler"):
                for version in KUBERNETES if kind in docs else ():
                    kv.validate(docs[kind], version, strict=True)
        with self.assertRaises(kv.ValidationError):  # it does look
            docs["Deployment"]["spec"]["template"]["spec"]["containers"][0]["port"] = []
            kv.validate(docs["Deployment"], KUBERNETES[0], strict=True)

    def test_what_the_parts_rely_on(self):
        docs = self.render(*ALL_ON)
        deployment = docs["Deployment"]["spec"]
        pod = deployment["template"]["spec"]
        container = pod["containers"][0]
        labels = dict(deployment["template"]["metadata"]["labels"])
        # What the routers know an engine by is no part of what selects the pods.
        self.assertEqual([labels.pop(f"{group}/engine-type") for group in
                          ("llm-d.ai", "inference.networking.k8s.io")], ["vllm", "vllm"])
        self.assertEqual(docs["Service"]["spec"]["selector"], labels)
        for kind in ("PodMonitor", "InferencePool"):
            self.assertEqual(docs[kind]["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(deployment["selector"]["matchLabels"], labels)
        self.assertNotIn("replicas", deployment)  # the autoscaler's
        self.assertIs(pod["enableServiceLinks"], False)
        names = {e["name"] for e in container["env"]}
        self.assertLessEqual(names, options())
        drain = next(int(e["value"]) for e in container["env"] if e["name"] == "SPECD_DRAIN_TIMEOUT")
        self.assertGreater(pod["terminationGracePeriodSeconds"], drain + 5)
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/ready")
        self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/health")
        self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        ports = [p["containerPort"] for p in container["ports"]]
        self.assertEqual([p["number"] for p in docs["InferencePool"]["spec"]["targetPorts"]], ports)
        endpoint = docs["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
        self.assertEqual((endpoint["port"], endpoint["path"]), ("http", "/metrics"))
        self.assertEqual(endpoint["authorization"]["credentials"], {"name": "t", "key": "k"})
        metric = docs["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
        self.assertEqual(metric, "specd_num_requests_waiting")
        mounts = {m["name"] for m in container["volumeMounts"]}
        self.assertEqual(mounts, {v["name"] for v in pod["volumes"]})


@needs_tools
class Compose(unittest.TestCase):
    def test_services(self):
        import yaml
        file = yaml.safe_load(read("docker/compose.yaml"))
        services = file["services"]
        self.assertEqual(set(services), {"cpu", "gpu", "prometheus", "grafana"})
        devices = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
        self.assertEqual(devices[0]["capabilities"], ["gpu"])
        for name in ("cpu", "gpu"):
            service = services[name]
            self.assertTrue(service["read_only"])
            self.assertLessEqual(set(service["environment"]), options())
            self.assertTrue(os.path.exists(os.path.join(ROOT, service["build"]["dockerfile"])))
        for service in services.values():
            for config in service.get("configs", ()):
                self.assertIn(config["source"], file["configs"])
        for config in file["configs"].values():
            yaml.safe_load(config["content"])


class Images(unittest.TestCase):
    def test_dockerfiles(self):
        for name in ("cpu", "cuda"):
            text = read("docker/Dockerfile." + name)
            lines = [line.split(None, 1) for line in text.splitlines() if line and line[0].isupper()]
            words = [w for w, _ in lines]
            self.assertEqual(words.count("FROM"), 2, name)
            self.assertGreater(words.index("USER"), len(words) - words[::-1].index("RUN") - 1)
            values = dict(lines)
            self.assertRegex(values["USER"], r"^[1-9]\d*:[1-9]\d*$")
            self.assertEqual(values["EXPOSE"], "8080")
            self.assertIn("health.sh", values["HEALTHCHECK"])
            json.loads(values["ENTRYPOINT"])  # the exec form: SIGTERM reaches the daemon
            runs = [v.split()[0] for w, v in lines if w == "RUN"]
            self.assertEqual([os.path.basename(r) for r in runs], ["build.sh", "install.sh"])
            for image in (v.split()[0] for w, v in lines if w == "FROM"):
                self.assertNotIn(".", image.split("/")[0].split(":")[0])  # no host


class Unit(unittest.TestCase):
    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_systemd(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/specd.service"
            with open(path, "w") as f:
                f.write(read("deploy/specd.service").replace("/usr/local/bin/specd", "/bin/true"))
            run = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            run = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20",
                                  path], capture_output=True, text=True)
            self.assertEqual(run.returncode, 0, run.stdout[-300:] + run.stderr)

    def test_settings(self):
        lines = read("deploy/specd.service").splitlines()
        settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w+=", line))
        self.assertEqual(settings["Type"], "notify")
        self.assertGreater(int(settings["TimeoutStopSec"]), 30)
        self.assertIn("WatchdogSec", settings)


if __name__ == "__main__":
    unittest.main(verbosity=2)
