"""What spans of a type may do, and what data they may hold (contract §7.1, ``data_risk``)."""

from prefactor_http.models._checked import CheckedModel
from prefactor_http.models.types import ActionPermission, DataClassification, DataPresence


class ActionProfile(CheckedModel, frozen=True, kw_only=True):
    """Which actions spans of a type may take.

    Each is ``unknown``, ``allowed`` or ``disallowed``.

    Attributes:
        create_data: Creating data.
        read_data: Reading data.
        update_data: Changing data.
        destroy_data: Deleting data.
        financial_transactions: Moving money.
        external_communication: Writing to people or systems outside.

    Raises:
        ValueError: A value is not one of the three.
    """

    create_data: ActionPermission = "unknown"
    read_data: ActionPermission = "unknown"
    update_data: ActionPermission = "unknown"
    destroy_data: ActionPermission = "unknown"
    financial_transactions: ActionPermission = "unknown"
    external_communication: ActionPermission = "unknown"


class DataCategories(CheckedModel, frozen=True, kw_only=True):
    """Which kinds of data a payload holds, and how confidential it is.

    Each category is ``unknown``, ``included`` or ``excluded``.

    Attributes:
        personal_identifiers: Names, identity numbers and the like.
        contact_information: Addresses, phone numbers.
        financial_information: Accounts, cards, income.
        health_and_medical: State of health, treatment.
        criminal_justice: Offences, proceedings.
        authentication_and_secrets: Passwords, tokens, keys.
        organisational_confidential: An organisation's internal matters.
        minors_data: Data about children.
        location_and_tracking: Whereabouts, movements.
        behavioural_and_inferred: Behaviour, and what is concluded from it.
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
        ValueError: A value is not one of those.
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
    """How risky spans of a type, or quality payloads of a name, are.

    Keys that the API learns later can be sent as a plain dict in place of this model.

    Attributes:
        action_profile: What the spans may do.
        params_data_categories: What their payload holds.
        result_data_categories: What their result holds.

    Raises:
        ValueError: A field is not of its type.
    """

    action_profile: ActionProfile
    params_data_categories: DataCategories
    result_data_categories: DataCategories


__all__ = ["ActionProfile", "DataCategories", "DataRisk"]
