//! The frame of the OpenAPI document; the endpoints are described beside their handlers.

use kusabi_api::{Kind, problem};
use utoipa::openapi::{
    Components, Content, InfoBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, SecurityRequirement,
    path::Operation,
    schema::{KnownFormat, SchemaFormat, Type},
    security::{Http, HttpAuthScheme, SecurityScheme},
};

const PROBLEM: &str = "Problem";

/// What stands in the document before the endpoints.
pub(super) fn base() -> OpenApi {
    let mut components = Components::new();
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
    );
    components
        .schemas
        .insert(PROBLEM.to_owned(), problem_schema().into());
    components
        .responses
        .insert(PROBLEM.to_owned(), problem_response().into());
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("kusabi server: admin API")
                .description(Some(
                    "An organisation's devices, groups, orders, alarms and tokens. Every request names a token \
                     (`Authorization: Bearer …`), but for those that say otherwise. A `POST`, `PUT` or `DELETE` may carry an \
                     `Idempotency-Key`: for a day, a repeat of the same request with the same token gets the first answer and does \
                     nothing. Every error is a problem document (RFC 9457). Times are milliseconds since 1970; handles and digests \
                     are lower-case hexadecimal. Roles: a viewer reads, an operator runs the fleet, an admin decides who may do what.",
                ))
                .version("1"),
        )
        .components(Some(components))
        .security(Some([SecurityRequirement::new("token", Vec::<String>::new())]))
        .build()
}

/// Gives every endpoint the answer that all of them have in common.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    for path in document.paths.paths.values_mut() {
        let operations: [&mut Option<Operation>; 4] = [
            &mut path.get,
            &mut path.put,
            &mut path.post,
            &mut path.delete,
        ];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert(
                "default".to_owned(),
                RefOr::Ref(Ref::from_response_name(PROBLEM)),
            );
        }
    }
    document
}

fn problem_response() -> Response {
    ResponseBuilder::new()
        .description("What went wrong")
        .content(
            problem::MEDIA_TYPE,
            Content::new(Some(Ref::from_schema_name(PROBLEM))),
        )
        .build()
}

fn problem_schema() -> utoipa::openapi::Object {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let number = || {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
    };
    ObjectBuilder::new()
        .description(Some("RFC 9457."))
        .property(
            "type",
            text().enum_values(Some(Kind::ALL.iter().map(|kind| kind.uri()))),
        )
        .required("type")
        .property("title", text())
        .required("title")
        .property("status", number())
        .required("status")
        .property("detail", text())
        .property(
            "code",
            number().description(Some("The ledger's code of the broken rule.")),
        )
        .property(
            "retry_after",
            number().description(Some("Seconds to wait.")),
        )
        .build()
}
