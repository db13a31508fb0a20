"""The calls of the official quickstart for enrollment groups, with nothing but the
connection string, the signing certificate and the group's name filled in.

python quickstart.py CONNECTION_STRING PEM_FILE GROUP_ID
"""

import sys

from provisioningserviceclient import ProvisioningServiceClient
from provisioningserviceclient.models import AttestationMechanism, EnrollmentGroup

CONNECTION_STRING = sys.argv[1]
with open(sys.argv[2], encoding="ascii") as pem:
    SIGNING_CERT = pem.read()
GROUP_ID = sys.argv[3]


def main():
    print("Initiating enrollment group creation...")

    psc = ProvisioningServiceClient.create_from_connection_string(CONNECTION_STRING)
    att = AttestationMechanism.create_with_x509_signing_certs(SIGNING_CERT)
    eg = EnrollmentGroup.create(GROUP_ID, att)

    eg = psc.create_or_update(eg)

    print("Enrollment group created.")


if __name__ == "__main__":
    main()
