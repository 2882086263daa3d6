"""Data risk of span types and quality schemas (contract §7.1, ``data_risk``)."""

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models.types import ActionPermission, DataClassification, DataPresence


class ActionProfile(CheckedModel, frozen=True, kw_only=True):
    """The actions that spans of a type may take.

    Each is ``unknown``, ``allowed`` or ``disallowed``.

    Attributes:
        create_data: Create data.
        read_data: Read data.
        update_data: Update data.
        destroy_data: Delete data.
        financial_transactions: Transfer money.
        external_communication: Communicate with external people or systems.

    Raises:
        ValueError: A value is not one of these.
    """

    create_data: ActionPermission = "unknown"
    read_data: ActionPermission = "unknown"
    update_data: ActionPermission = "unknown"
    destroy_data: ActionPermission = "unknown"
    financial_transactions: ActionPermission = "unknown"
    external_communication: ActionPermission = "unknown"


class DataCategories(CheckedModel, frozen=True, kw_only=True):
    """The kinds of data in a payload, and its classification.

    Each category is ``unknown``, ``included`` or ``excluded``.

    Attributes:
        personal_identifiers: Names and identity numbers.
        contact_information: Addresses and phone numbers.
        financial_information: Accounts, cards and income.
        health_and_medical: Health and treatment.
        criminal_justice: Offences and proceedings.
        authentication_and_secrets: Passwords, tokens and keys.
        organisational_confidential: Internal information of an organisation.
        minors_data: Data about children.
        location_and_tracking: Locations and movements.
        behavioural_and_inferred: Behaviour and data inferred from it.
        gdpr_racial_or_ethnic_origin: A GDPR special category.
        gdpr_political_opinions: A GDPR special category.
        gdpr_religious_or_philosophical_beliefs: A GDPR special category.
        gdpr_trade_union_membership: A GDPR special category.
        gdpr_genetic_data: A GDPR special category.
        gdpr_biometric_for_identification: A GDPR special category.
        gdpr_sex_life_or_sexual_orientation: A GDPR special category.
        classification: ``unknown``, ``public``, ``internal``, ``confidential``, ``restricted``
            or ``secret``.

    Raises:
        ValueError: A value is not one of these.
    """

    personal_identifiers: DataPresence = "unknown"
    contact_information: DataPresence = "unknown"
    financial_information: DataPresence = "unknown"
    health_and_medical: DataPresence = "unknown"
    criminal_justice: DataPresence = "unknown"
    authentication_and_secrets: DataPresence = "unknown"
    organisational_confidential: DataPresence = "unknown"
    minors_data: DataPresence = "unknown"
    location_and_tracking: DataPresence = "unknown"
    behavioural_and_inferred: DataPresence = "unknown"
    gdpr_racial_or_ethnic_origin: DataPresence = "unknown"
    gdpr_political_opinions: DataPresence = "unknown"
    gdpr_religious_or_philosophical_beliefs: DataPresence = "unknown"
    gdpr_trade_union_membership: DataPresence = "unknown"
    gdpr_genetic_data: DataPresence = "unknown"
    gdpr_biometric_for_identification: DataPresence = "unknown"
    gdpr_sex_life_or_sexual_orientation: DataPresence = "unknown"
    classification: DataClassification = "unknown"


class DataRisk(CheckedModel, frozen=True, kw_only=True):
    """Data risk of a span type or quality schema.

    To send keys that this model does not have, pass a dict instead.

    Attributes:
        action_profile: Actions that the spans may take.
        params_data_categories: Data in the payload.
        result_data_categories: Data in the result.

    Raises:
        ValueError: A field has the wrong type.
    """

    action_profile: ActionProfile
    params_data_categories: DataCategories
    result_data_categories: DataCategories


__all__ = ["ActionProfile", "DataCategories", "DataRisk"]
