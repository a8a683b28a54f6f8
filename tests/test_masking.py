"""Command lines that are written down: no credential is in them, whatever its form."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ama.operations.masking import LONGEST, MASK, command_line, mask_text, mask_words

# Put together here, so that no scanner takes this file for a leak.
SECRET = "hunter2-" + "Zx9Qw8"
GITHUB = "ghp" + "_" + "a1B2" * 9
HUGGING = "hf" + "_" + "AbCd" * 9
AWS = "AK" + "IA" + "QWERTYUIOPASDFGH"
AWS_SECRET = ("Zx9" + "Qw8Er7Ty6Ui5Op4As3Df2Gh1Jk0Lz9Xc8Vb7Nmq")[:40]
GOOGLE = "AI" + "za" + "x" * 35
JWT = ".".join(["ey" + "JhbGciOiJI", "eyJzdWIiOiIx", "c2lnbmF0dXJl"])
PEM = f"-----BEGIN {'RSA '}PRIVATE KEY-----\n{'MIIEvQIBADANBgkqhkiG9w0BAQ' * 3}\n"

HIDDEN: dict[str, list[str]] = {
    "password": ["train", "--password", SECRET],
    "equals": ["train", f"--password={SECRET}"],
    "one dash": ["train", "-password", SECRET],
    "begins with a dash": ["train", "--token", f"-{SECRET}"],
    "joined": ["train", "--dbpassword", SECRET],
    "camel": ["train", "--authToken", SECRET],
    "underscore": ["train", "--hf_token", SECRET],
    "api key": ["train", "--wandb-api-key", SECRET],
    "key": ["train", "--key", SECRET],
    "secret": ["train", "--client-secret", SECRET],
    "secret with more": ["train", "--client-secret-value", SECRET],
    "credential": ["train", "--credentials", SECRET],
    "passphrase": ["train", "--passphrase", SECRET],
    "upper": ["train", "--PASSWORD", SECRET],
    "numbered": ["train", "--password2", SECRET],
    "hydra": ["train", f"+logger.api_key={SECRET}"],
    "hydra nested": ["train", f"db.password={SECRET}"],
    "environment": ["env", f"WANDB_API_KEY={SECRET}", "python", "train.py"],
    "comma and brackets": ["train", f"--token=a,b)c]d;{SECRET}"],
    "blanks": ["train", f"--password=my {SECRET}"],
    "curl": ["curl", "-u", f"ann:{SECRET}"],
    "header": ["curl", "-H", f"Authorization: Bearer {SECRET}"],
    "basic": ["curl", "-H", f"Proxy-Authorization: Basic {SECRET}"],
    "own header": ["curl", "-H", f"X-Api-Key: {SECRET}"],
    "cookie": ["curl", "--cookie", f"session={SECRET}"],
    "cookies": ["curl", "-H", f"Cookie: a=b; session={SECRET}"],
    "json": ["train", "--config", f'{{"lr": 0.1, "password": "{SECRET}"}}'],
    "single quotes": ["train", f"{{'token': '{SECRET} x'}}"],
    "yaml": ["train", f"lr: 3\npassword: {SECRET}\n"],
    "shell": ["sh", "-c", f"TOKEN={SECRET} python train.py"],
    "shell with an option": ["sh", "-c", f"train --password {SECRET} --lr 3"],
    "shell with quotes": ["sh", "-c", f"train --password 'a {SECRET}'"],
    "program": ["python", "-c", f"login(token={SECRET!r})"],
    "program of the environment": ["python", "-c", f"os.environ['API_KEY'] = '{SECRET}'"],
    "url": ["train", f"https://ann:{SECRET}@example.org/data"],
    "url with a slash": ["train", f"https://ann:a/{SECRET}@example.org/data"],
    "url of a token": ["pip", f"git+https://{SECRET}@example.org/team/code.git"],
    "url of a database": ["train", "--db", f"postgresql+psycopg2://ann:{SECRET}@host/db"],
    "behind ama": ["read", f"ama://models@best/x::s3://key:{SECRET}@bucket"],
    "login without a scheme": ["train", f"ann:{SECRET}@example.org"],
    "query": ["train", f"https://host/x?lr=3&sig={SECRET}&se=2026"],
    "signed": ["train", f"https://b.s3.amazonaws.com/x?X-Amz-Signature={SECRET}"],
    "azure": ["train", "AccountKey=" + "x" * 86 + "==", SECRET.replace(SECRET, "")],
    "github": ["train", GITHUB],
    "inside": ["train", f"x:{GITHUB}:y"],
    "hugging face": ["train", f"--hub={HUGGING}"],
    "google": ["train", GOOGLE],
    "aws": ["aws", AWS, AWS_SECRET],
    "aws id": ["aws", AWS],
    "jwt": ["train", JWT],
    "private key": ["train", PEM],
    "curl at once": ["curl", f"-uann:{SECRET}"],
    "curl in one word": ["curl", f"--user=ann:{SECRET}"],
    "curl in a shell": ["sh", "-c", f"curl -u ann:{SECRET} https://example.org"],
    "json in json": ["train", f'{{\\"token\\": \\"{SECRET}\\"}}'],
    "annotated": ["python", "-c", f"password: str = {SECRET!r}"],
    "behind another name": ["train", f"env:API_KEY={SECRET}"],
    "bytes": ["python", "-c", f"password = b'a {SECRET}'"],
    "two arguments": ["python", "-c", f"setenv('API_KEY', 'a {SECRET}')"],
    "words in a program": ["python", "-c", f"run(['train', '--password', '{SECRET}'])"],
    "encoded": ["train", f"https://host/x?next=%2Fy%3Ftoken%3D{SECRET}"],
    "encoded login": ["train", f"https://host/x?next=https%3A%2F%2Fann%3A{SECRET}%40host"],
    "hook": ["train", f"https://hooks.slack.com/services/T0/B0/{SECRET}"],
    "payment": ["train", "sk" + "_live_" + "a1B2" * 6],
    "cloud": ["train", "dop" + "_v1_" + "0a" * 32],
    "mail": ["train", ".".join(["S" + "G", "a1B2" * 5, "a1B2" * 10])],
    "long before": ["python", "-c", "x = 1\n" * 9000 + f"token = '{SECRET}'"],
}
SECRETS = [
    SECRET,
    "a1B2" * 5,
    "0a" * 32,
    GITHUB,
    HUGGING,
    AWS,
    AWS_SECRET,
    GOOGLE,
    JWT,
    "MIIEvQ",
    "x" * 86,
]

KEPT = [
    ["python", "train.py", "--lr", "0.1", "--tokenizer", "bert-base", "--max-tokens", "512"],
    ["train", "--token-dropout", "0.1", "--num_tokens=3e9", "--eos-token", "</s>"],
    ["train", "--key-dim", "64", "--keep", "3", "--author", "Ann", "--passes", "3"],
    ["train", "--model", "ama://models@best/model.h5", "--out", "s3://bucket/run"],
    ["train", "--commit", "3f9a2c41d0" * 4, "data/train.csv", "a=b", "--", "x y"],
    ["train", "--tokens-per-batch", "4096", "--tokens", "1.5B", "task-learning-rate-schedule"],
    [
        "train",
        "--pin-memory",
        "--lr",
        "0.1",
        "--sig-level",
        "0.05",
        "--bypass",
        "x",
        "--auth-type=x",
    ],
    ["curl", "--user-agent", "a:b", "-o", "x:y"],
    ["python", "-c", "def f(tokenizer: str = 'bert', keep: int = 3): return ['lr', 'steps']"],
    ["train", "a%3Db", "host%3A8080%2Fx", "SG.small.part", "r8_short", "sk_live"],
    ["git", "clone", "https://github.com/team/code.git"],
]


@pytest.mark.parametrize("case", HIDDEN)
def test_credentials_are_masked(case: str) -> None:
    line = command_line(mask_words(HIDDEN[case]))
    assert MASK in line or case == "long before"
    assert not any(secret in line for secret in SECRETS), line
    assert line.startswith(HIDDEN[case][0])


@pytest.mark.parametrize("words", KEPT, ids=" ".join)
def test_what_is_none_stays(words: list[str]) -> None:
    assert mask_words(words) == words


def test_a_line_is_one_that_a_shell_takes() -> None:
    words = ["train", "--note", "it's  new", "*.csv", "", "--password", "x y"]
    assert command_line(mask_words(words)) == (
        "train --note 'it'\"'\"'s  new' '*.csv' '' --password ***"
    )


def test_long_words_and_many_are_cut() -> None:
    line = command_line(mask_words(["python", "-c", "print(1)\n" * 120_000, "--last"]))
    assert len(line) < 1100
    assert line.endswith("…' --last")
    assert len(command_line(mask_words(["a" * 300] * 1000))) == LONGEST


HARD = (
    *("a" * 10**6, "://" * 10**5, "=" * 10**6, "-" * 10**6, "a:" * 10**5, "'" * 10**6),
    *("a.b" * 10**5, "--a " * 10**5, "eyJ" * 10**5, "-----BEGIN PRIVATE KEY" * 10**4),
    *("token: a " * 10**5, "token: " + "a" * 10**6, "%3Aa" * 10**5, "-u a" * 10**5),
    *('token\\"' * 10**5, "a:b c " * 10**5, 'token=\\"' + "\\" * 10**6, "SG." * 10**5),
    *("bearer " * 10**5, "a:" * 10**4 + "@", "://" * 10**4 + "@", "token=" * 10**5),
)


@pytest.mark.parametrize("text", HARD, ids=lambda text: text[:6])
def test_no_text_takes_long(text: str) -> None:
    before = time.process_time()
    mask_words(["python", "-c", text])
    assert time.process_time() - before < 5


@given(st.lists(st.text()))
def test_any_words_are_taken(words: list[str]) -> None:
    assert len(mask_words(words)) == len(words)
    command_line(mask_words(words)).encode("utf-8", "surrogatepass")


@given(st.text(), st.text())
def test_a_token_is_masked_wherever_it_stands(before: str, after: str) -> None:
    assert GITHUB not in mask_text(f"{before} {GITHUB} {after}")
