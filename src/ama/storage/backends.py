"""The kinds of URL beside directories, with their needs and abilities.

Nothing here imports a client: a check of a URL must stay light.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Creates = Literal["itself", "rename", "never"]


class Backend(NamedTuple):
    """One kind of storage behind fsspec.

    Attributes:
        title: Its name for people.
        package: The package with its client; an extra of ama installs it.
        module: The client's module.
        client: The client's class there.
        creates: How one of several writers creates a name: the storage does it "itself", by a
            plain "rename" of a temporary file, or "never".
        login: What a user without permission does.
        credentials: Where its client finds credentials.
        root: What the first name in a URL is.
        passes_on: Whether its client passes on options that it doesn't know; else it ignores them.
        insists: Whether its client itself asks a silent server again, whatever its options.
        below: The packages below its client that log on their own.
    """

    title: str
    package: str
    module: str
    client: str
    creates: Creates
    login: str
    credentials: str
    root: Literal["bucket", "container", "host"] = "bucket"
    passes_on: bool = False
    insists: bool = False
    below: tuple[str, ...] = ()


GCS = Backend(
    "Google Cloud Storage",
    "gcsfs",
    "gcsfs.core",
    "GCSFileSystem",
    "itself",
    "log in: gcloud auth application-default login; or ask for access to the bucket",
    "log in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS;"
    " for a public bucket, --option token=anon",
    insists=True,
    below=("google",),
)
S3 = Backend(
    "S3",
    "s3fs",
    "s3fs.core",
    "S3FileSystem",
    "itself",
    "log in: aws configure, or set AWS_PROFILE; or ask for access to the bucket",
    "put it into ~/.aws, and set AWS_PROFILE; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;"
    " for a public bucket, --option anon=true",
    passes_on=True,
    below=("aiobotocore", "botocore"),
)
AZURE = Backend(
    "Azure Blob Storage",
    "adlfs",
    "adlfs.spec",
    "AzureBlobFileSystem",
    "itself",
    "log in: az login, with AZURE_STORAGE_ACCOUNT_NAME set; or ask for access to the container",
    "log in with `az login`; or set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or"
    " AZURE_STORAGE_CONNECTION_STRING; for a public container, --option anon=true",
    root="container",
    below=("azure",),
)
SFTP = Backend(
    "SFTP",
    "sshfs",
    "sshfs.spec",
    "SSHFileSystem",
    "rename",
    "try it: sftp HOST; your key must be in ~/.ssh, and the host in ~/.ssh/known_hosts",
    "add your key to the SSH agent, or put it into ~/.ssh",
    root="host",
    passes_on=True,
    below=("asyncssh",),
)
HTTP = Backend(
    "HTTP",
    "aiohttp",
    "fsspec.implementations.http",
    "HTTPFileSystem",
    "never",
    "ask who runs the server for access",
    "put it into ~/.netrc, and say so: --option client_kwargs.trust_env=true",
    root="host",
)

BACKENDS: dict[str, Backend] = {
    "gs": GCS,
    "gcs": GCS,
    "s3": S3,
    "az": AZURE,
    "abfs": AZURE,
    "abfss": AZURE,
    "sftp": SFTP,
    "ssh": SFTP,
    "http": HTTP,
    "https": HTTP,
}
"""The kinds of URL, by scheme."""
