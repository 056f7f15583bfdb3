"""Which orders the shop has accepted: one small object for each in S3, written only where there is none.

A message may be delivered twice, and an export may be sent twice. The conditional write lets exactly one message have
an order, however many try at the same time.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)
"""

from botocore.exceptions import ClientError

from sample_app import files

__all__ = ["claim", "has"]


def claim(key: str, message_id: str) -> bool:
    """Enter an order for the message with this id; False if another message has it already.

    The message that has it gets True again, so that a task which failed later on can go on where it was.
    """
    name = f"orders/{key}"
    try:
        files.s3().put_object(Bucket=files.bucket(), Key=name, Body=message_id.encode(), IfNoneMatch="*")
    except ClientError as error:
        # Anything else, a conflict of two writes at once among it, is worth another attempt of the task.
        if error.response.get("Error", {}).get("Code") != "PreconditionFailed":
            raise
        owner = files.s3().get_object(Bucket=files.bucket(), Key=name)["Body"].read().decode()
        return owner == message_id
    return True


def has(key: str) -> bool:
    """Whether an order has been entered."""
    return files.exists(f"orders/{key}")
