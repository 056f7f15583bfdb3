"""A bucket for large arguments that fails when a test says so."""

from typing import Any

from botocore.exceptions import ClientError

BUCKET = "shop-payloads"
LARGE = "x" * 1_200_000
DOWN = ClientError({"Error": {"Code": "SlowDown", "Message": "please reduce your rate"}}, "GetObject")


class Answering:
    """An S3 client that asks a real one, unless a test says what to answer."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.exceptions = s3.exceptions
        self.asked: list[str] = []
        self.error: Exception | None = None

    def put_object(self, **request: Any) -> Any:
        return self._answer("put_object", request)

    def get_object(self, **request: Any) -> Any:
        return self._answer("get_object", request)

    def _answer(self, operation: str, request: dict[str, Any]) -> Any:
        self.asked.append(f"{operation} {request['Bucket']}/{request['Key']}")
        if self.error:
            raise self.error
        return getattr(self._s3, operation)(**request)

    def keys(self) -> list[str]:
        return [one["Key"] for one in self._s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def clear(self) -> None:
        for key in self.keys():
            self._s3.delete_object(Bucket=BUCKET, Key=key)

    def put(self, key: str, content: str) -> None:
        self._s3.put_object(Bucket=BUCKET, Key=key, Body=content.encode())
