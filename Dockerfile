# The image of a server process, for compose.yaml. Its steps were run by hand in an empty folder, as docs/operations.md
# says; Docker itself was not.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1
WORKDIR /srv/lockstep
# First what changes seldom. The wheels bring their own libpq; nothing is compiled.
COPY requirements.txt ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY manage.py LICENSE ./
COPY project ./project
COPY messaging ./messaging
COPY presence ./presence
COPY perf ./perf
RUN python -m compileall -q . \
    && useradd --system --user-group --home-dir /var/lib/lockstep --create-home lockstep

USER lockstep
# Files of messages and, without SECRET_KEY, the key: processes of one site share this directory.
VOLUME /var/lib/lockstep
ENV LOCKSTEP_DATA=/var/lib/lockstep DEBUG=0 LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0", "--port", "8000", "--processes", "1", "--lame-duck", "3"]
