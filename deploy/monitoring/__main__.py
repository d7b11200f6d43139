"""Write deploy/alerts.yaml and deploy/dashboard.json, and both once more for the package of the Helm chart."""

from pathlib import Path

from deploy.monitoring.alerts import rules
from deploy.monitoring.dashboard import dashboard

DEPLOY = Path(__file__).resolve().parent.parent
FILES = {
    folder / name: text
    for folder in (DEPLOY, DEPLOY / "chart" / "files")
    for name, text in (("alerts.yaml", rules), ("dashboard.json", dashboard))
}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), encoding="utf-8")
