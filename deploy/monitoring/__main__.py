"""Write deploy/alerts.yaml and deploy/dashboard.json."""

from pathlib import Path

from deploy.monitoring.alerts import rules
from deploy.monitoring.dashboard import dashboard

DEPLOY = Path(__file__).resolve().parent.parent
FILES = {DEPLOY / "alerts.yaml": rules, DEPLOY / "dashboard.json": dashboard}

if __name__ == "__main__":
    for path, text in FILES.items():
        path.write_text(text(), encoding="utf-8")
